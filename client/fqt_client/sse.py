"""Server-sent events: the text protocol of WHATWG HTML, section 9.2, as far as a client needs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSentEvent:
    """One message of the stream."""

    event: str
    data: str
    id: str | None


class Parser:
    """Turns the lines of a stream (without their ends) into messages, one line at a time.

    Comments (pings) and messages without data are left out; a message cut off by the end of the stream is dropped.
    """

    def __init__(self) -> None:
        self._event = ""
        self._data: list[str] = []
        self._last_id: str | None = None

    def feed(self, line: str) -> ServerSentEvent | None:
        """Take one line; return the message that it ends, if it ends one."""
        if not line:
            data, event, self._data, self._event = self._data, self._event, [], ""
            return ServerSentEvent(event or "message", "\n".join(data), self._last_id) if data else None
        if line.startswith(":"):
            return None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._last_id = value
        return None
