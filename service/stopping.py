"""Being asked to stop: signals as events that the main thread looks at, and lines that survive a closed terminal."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from fqt_client.cli.output import print_json_line, print_line
from service.errors import StopRequestedError

Say = Callable[[str], None]


class StopSignals:
    """Within its block SIGINT, SIGTERM and SIGHUP set ``stop``, and when they come again ``at_once``.

    Nothing is interrupted by them, so that no child is started and lost; :meth:`interrupting` makes an exception of
    them for work that only waits.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.at_once = threading.Event()
        self._interrupting = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup means that the end of the terminal is to be ignored.
            if name is signal.SIGHUP and signal.getsignal(name) is signal.SIG_IGN:
                continue
            self._before[name] = signal.signal(name, self._asked)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within the block a signal raises StopRequestedError at once, wherever the main thread is."""
        self._interrupting = True
        try:
            if self.stop.is_set():
                raise StopRequestedError
            yield
        finally:
            self._interrupting = False

    def _asked(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the shape of a handler
        if self.stop.is_set():
            self.at_once.set()
            return
        self.stop.set()
        if self._interrupting:
            self._interrupting = False
            raise StopRequestedError


def voice(*, as_json: bool) -> Say:
    """A function that tells people or programs on stdout what is going on.

    A stdout that is gone (a closed terminal, the end of a pipe) must not keep the service from being stopped in order.
    """

    def say(text: str) -> None:
        with contextlib.suppress(OSError):
            if as_json:
                print_json_line({"event": "log", "message": text})
            else:
                print_line(text)

    return say
