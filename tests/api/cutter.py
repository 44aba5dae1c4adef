"""A line to a server that breaks off after so many bytes, wherever in an answer that is."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, not with an orderly end


class Cutter:
    """Passes connections on to a port of this machine, and cuts each of the first ones at a place that a seed gives.

    Every second one is reset; the others end in order, in the middle of what they were bringing.

    Args:
        port: where the server listens.
        cuts: how many connections are cut.
        longest: bytes of an answer, head included, after which the latest cut comes.
        seed: of the places.
    """

    def __init__(self, port: int, *, cuts: int, longest: int, seed: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        places = random.Random(seed)
        self._places = [places.randint(0, longest) for _ in range(cuts)]
        self.cut: list[int] = []
        """Places of the cuts so far."""
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def left(self) -> int:
        """How many connections are still to be cut."""
        return len(self._places)

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        place = self._places.pop(0) if self._places else None
        with client, socket.create_connection(("127.0.0.1", self._server)) as server, contextlib.suppress(OSError):
            sent = 0
            while True:
                # In one thread: a socket that another one waits at is not closed before that one is back.
                source = select.select([client, server], [], [])[0][0]
                piece = source.recv(65536)
                if source is client and piece:
                    server.sendall(piece)
                elif not piece:
                    return
                elif place is not None and sent + len(piece) >= place:
                    client.sendall(piece[: place - sent])
                    self.cut.append(place)
                    if len(self.cut) % 2:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    return
                else:
                    client.sendall(piece)
                    sent += len(piece)
