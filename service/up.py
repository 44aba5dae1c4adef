"""`fqt up`: run the embedded service in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fqt_client.cli.output import print_json_line, print_line
from fqt_client.config import config_file, read_config_file, write_config_file
from fqt_client.errors import NotConfiguredError
from jobs.settings import Settings
from service.embedded import EmbeddedService
from service.errors import StopRequestedError
from service.lock import DataDirLock

CHECK_SECONDS = 0.3
MANAGED_BY = "fqt up"


def run(settings: Settings, *, host: str, port: int | None, as_json: bool) -> int:
    """Run the service until it is asked to stop, and return the exit code.

    Raises:
        StartError: it cannot be started, or runs on this data folder already.
    """

    def say(text: str) -> None:
        if as_json:
            print_json_line({"event": "log", "message": text})
        else:
            print_line(text)

    with DataDirLock(settings.data_dir) as lock, stop_signals() as (stop, at_once):
        # A broker that the environment names is used; the default of that setting is only a guess.
        own_broker = "broker_url" not in settings.model_fields_set
        service = EmbeddedService(settings, host=host, port=port, own_broker=own_broker, say=say, stop=stop)
        lock.tell(pid=os.getpid(), url=service.url)
        try:
            service.start()
            place = write_client_config(service)
            if as_json:
                ready = {"event": "ready", "url": service.url, "data_dir": str(settings.data_dir), "config": str(place)}
                print_json_line({**ready, "pid": os.getpid(), "children": service.pids})
            else:
                print_line(_welcome(service, place))
            while not stop.wait(CHECK_SECONDS):
                service.check()
        except StopRequestedError:
            pass
        finally:
            say("Stopping (once more to stop at once) …")
            service.stop(at_once=at_once)
            say("Stopped.")
    return 0


@contextmanager
def stop_signals() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Within the block SIGINT, SIGTERM and SIGHUP set the first event, and when they come again the second one."""
    stop, at_once = threading.Event(), threading.Event()

    def asked(*_: object) -> None:
        (at_once if stop.is_set() else stop).set()

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, asked) for name in names}
    try:
        yield stop, at_once
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def write_client_config(service: EmbeddedService, path: Path | None = None) -> Path:
    """Tell the `fqt` command of this user where the service is, and return the file that says it.

    A configuration that somebody made for another service is left alone: then the file is one in the data folder.
    """
    target = path or config_file()
    content = {"base_url": service.url, "api_key": service.api_key, "managed_by": MANAGED_BY}
    try:
        there = read_config_file(target)
        foreign = bool(there) and there.get("managed_by") != MANAGED_BY
    except NotConfiguredError:
        foreign = True
    if not foreign:
        try:
            write_config_file(target, content)
        except OSError:
            foreign = True
    if foreign:
        target = service.settings.data_dir / "client.json"
        write_config_file(target, content)
    return target


def _welcome(service: EmbeddedService, place: Path) -> str:
    lines = [
        "",
        f"  fqt is ready at {service.url} (API documentation: {service.url}/docs)",
        f"  data and logs   {service.settings.data_dir}",
        f"  URL and key     {place}",
        "",
    ]
    if place != config_file():
        lines += [
            f"  {config_file()} is that of another service and was left alone. For this one:",
            f"    export FQT_API_URL={service.url} FQT_API_KEY=$(cat {service.settings.key_path})",
            "",
        ]
    lines += [
        "  In another terminal:",
        "    fqt datasets add DIR                      a folder with one folder of images per class",
        "    fqt submit --dataset digits --method fqt --channels 1 --image-size 16 --width 0.25 --watch",
        "    fqt jobs",
        "",
        "  Ctrl-C stops it.",
    ]
    return "\n".join(lines)
