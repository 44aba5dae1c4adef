"""A client that takes little of the machine: HTTP/1.1 on kept connections, and event streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from benchmarks.errors import BenchmarkError


class Connection:
    """One connection to a server on this machine; one request at a time."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._port = port
        lines = {"Host": f"127.0.0.1:{port}", **headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send JSON; return status and body of the answer."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        status, fields = await self._send(f"POST {path} HTTP/1.1\r\n{self._head}{length}{more}\r\n".encode() + body)
        assert self._reader is not None
        return status, await self._reader.readexactly(int(fields["content-length"]))

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        status, fields = await self._send(f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode())
        assert self._reader is not None
        return status, await self._reader.readexactly(int(fields["content-length"]))

    async def stream(self, path: str) -> AsyncIterator[Mapping[str, Any]]:
        """The data of the events of a stream, as they come."""
        status, _ = await self._send(f"GET {path} HTTP/1.1\r\n{self._head}Accept: text/event-stream\r\n\r\n".encode())
        if status != 200:
            raise BenchmarkError(f"an event stream is answered with status {status}")
        assert self._reader is not None
        async for line in self._reader:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def close(self) -> None:
        """Close it."""
        if self._writer is not None:
            self._writer.close()

    async def _send(self, message: bytes) -> tuple[int, dict[str, str]]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        self._writer.write(message)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in head[1:] if ":" in line)
        return int(head[0].split()[1]), {name.strip().lower(): value.strip() for name, value in pairs}
