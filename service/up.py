"""`fqt up`: run the embedded service in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
from pathlib import Path

from fqt_client.cli.output import print_json_line
from fqt_client.config import config_file, read_config_file, write_config_file
from fqt_client.errors import NotConfiguredError
from jobs.settings import Settings
from service import ports
from service.embedded import EmbeddedService
from service.errors import StopRequestedError
from service.lock import DataDirLock
from service.stopping import StopSignals, voice

CHECK_SECONDS = 0.3
MANAGED_BY = "fqt up"


def run(settings: Settings, *, host: str, port: int | None, as_json: bool) -> int:
    """Run the service until it is asked to stop, and return the exit code.

    Raises:
        StartError: it cannot be started, or runs on this data folder already.
    """

    say = voice(as_json=as_json)
    ports.check_host(host)  # before anything is left in the data folder
    with DataDirLock(settings.data_dir) as lock, StopSignals() as signals:
        # A broker that the environment names is used; the default of that setting is only a guess.
        own_broker = "broker_url" not in settings.model_fields_set
        service = EmbeddedService(settings, host=host, port=port, own_broker=own_broker, say=say, stop=signals.stop)
        lock.tell(pid=os.getpid(), url=service.url)
        try:
            service.start()
            place = write_client_config(service)
            if as_json:
                ready = {"event": "ready", "url": service.url, "data_dir": str(settings.data_dir), "config": str(place)}
                print_json_line({**ready, "pid": os.getpid(), "children": service.pids})
            else:
                say(_welcome(service, place))
            while not signals.stop.wait(CHECK_SECONDS):
                service.check()
        except StopRequestedError:
            pass
        finally:
            say("Stopping (once more to stop at once) …")
            service.stop(at_once=signals.at_once)
            say("Stopped.")
    return 0


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
        f"  URL and key     {place} (the page asks for the key once)",
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
