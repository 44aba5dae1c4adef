"""A worker's child under observation: ``python measured_child.py NOTES inspect|fetch FOLDER --events FD``.

NOTES is a folder. The child's peak memory goes to ``peak`` there, and the nanoseconds that it waited for a core to
``waited``. A fetching child resolves names by ``names.json``
alone (name to a list of answers, one for each time it asks), and its connections go to ``routes.json`` (address to port
on loopback); what is neither there nor on loopback is refused. It notes what it asked for and connected to in
``network``.
"""

from __future__ import annotations

import json
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

notes = Path(sys.argv[1])


def note(**line: Any) -> None:
    with (notes / "network").open("a") as file:
        file.write(json.dumps(line) + "\n")


def fetch(arguments: list[str]) -> int:
    from worker import fetch_child

    names = json.loads((notes / "names.json").read_text())
    routes = json.loads((notes / "routes.json").read_text())
    asked: Counter[str] = Counter()
    connect = socket.create_connection

    def resolve(name: str, port: int) -> Sequence[str]:
        note(resolve=name)
        if name not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        asked[name] += 1
        answers: list[list[str]] = names[name]
        return answers[min(asked[name], len(answers)) - 1]

    def routed(address: tuple[str, int], *options: Any, **named: Any) -> socket.socket:
        host = address[0]
        note(connect=host)
        if host in routes:
            return connect(("127.0.0.1", routes[host]), *options, **named)
        if not host.startswith(("127.", "::1")):
            raise ConnectionRefusedError(111, "Connection refused")
        return connect(address, *options, **named)

    socket.create_connection = routed  # type: ignore[assignment]
    return fetch_child.main(arguments, resolve)


def main() -> int:
    if sys.argv[2] == "fetch":
        return fetch(sys.argv[3:])
    from worker import inspect_child

    return inspect_child.main(sys.argv[3:])


try:
    code = main()
finally:
    # Not getrusage(), which counts the process that this one was forked from.
    status = Path("/proc/self/status").read_text()
    (notes / "waited").write_text(Path("/proc/self/schedstat").read_text().split()[1])
    (notes / "peak").write_text(str(int(status.split("VmHWM:")[1].split()[0]) * 1024))
sys.exit(code)
