"""Hosts that are network namespaces, the links between them, and a place of our own to have them in. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

_INSIDE = "FQT_CHAOS_INSIDE"
_PAGE = 4096

LEASHED = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: it is killed when the thread that started it ends, however that ends."""


def why_not() -> str | None:
    """Why namespaces cannot be had here; ``None`` if they can."""
    if missing := [name for name in ("unshare", "nsenter", "setpriv", "ip") if shutil.which(name) is None]:
        return f"{', '.join(missing)} missing (Debian: util-linux, iproute2)"
    tried = subprocess.run(
        [
            "unshare",
            "--net",
            "--mount",
            "sh",
            "-c",
            "ip link add name a type veth peer name b && mount -t tmpfs none /mnt",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"no namespaces, links or mounts without root: {tried.stderr.strip()}"


def move_into_isolation() -> None:
    """Run this program anew in network and mount namespaces of its own, which end with it; returns in there."""
    if os.environ.get(_INSIDE) == str(os.getpid()):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    os.environ[_INSIDE] = str(os.getpid())  # unshare replaces this process: the id stays
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", *command])


class Host:
    """A network namespace. It lasts until :meth:`close`, or as long as a process runs there."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen([*LEASHED, "unshare", "--net", "sleep", "infinity"])
        self.pid = self._holder.pid
        while Path(f"/proc/{self.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.002)
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *command: str) -> list[str]:
        """A command, so that it runs on this host."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command]

    def run(self, *command: str) -> None:
        """Run a command on this host to its end."""
        subprocess.run(self.command(*command), check=True)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


class Here:
    """The network namespace that this process is in."""

    pid = os.getpid()

    def command(self, *command: str) -> list[str]:
        return list(command)

    def run(self, *command: str) -> None:
        subprocess.run(command, check=True)


class Link:
    """A cable between two hosts, who have the addresses ``first`` and ``second`` on it."""

    def __init__(self, number: int, one: Host | Here, other: Host | Here) -> None:
        self.first, self.second = f"10.77.{number}.1", f"10.77.{number}.2"
        self._one, self._name = one, f"fqt{number}a"
        ends = [(one, self._name, self.first), (other, f"fqt{number}b", self.second)]
        places = [[name, "netns", str(host.pid)] for host, name, _ in ends]
        subprocess.run(
            ["ip", "link", "add", "name", *places[0], "type", "veth", "peer", "name", *places[1]], check=True
        )
        for host, name, address in ends:
            host.run("ip", "address", "add", f"{address}/30", "dev", name)
            host.run("ip", "link", "set", name, "up")

    def cut(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._one.run("ip", "link", "set", self._name, "down")

    def heal(self) -> None:
        self._one.run("ip", "link", "set", self._name, "up")


class SmallDisk:
    """A file system of its own that can be filled to the last byte."""

    def __init__(self, root: Path, size: int) -> None:
        root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "fqt-chaos", str(root)], check=True)
        self.root, self.size = root, size

    def fill(self, name: str) -> Path:
        """Take all the room that there is; return the file that took it."""
        path = self.root / name
        with path.open("wb", buffering=0) as file:
            used, piece = 0, self.size
            while piece >= _PAGE:
                try:
                    os.posix_fallocate(file.fileno(), used, piece)
                except OSError:  # all or nothing
                    piece //= 2
                else:
                    used += piece
        return path

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.root)], check=True)
