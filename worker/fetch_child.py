"""``python -m worker.fetch_child FOLDER --events FD``: download a data set, within limits, with the network.

It is given the network, and no database, no keys and no stored files. What it brings is looked at by another child,
which has no network.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fqt_core.events import Failed
from jobs import urls
from jobs.addresses import Resolver
from jobs.errors import UrlRefusedError
from worker.download import DownloadError, download
from worker.lifeline import Lifeline
from worker.protocol import DOWNLOAD, Confined, Exit, Fetched, FetchInput
from worker.sandbox import confine


def main(arguments: list[str], resolve: Resolver | None = None) -> int:
    """Download what ``fetch.json`` in the folder describes; return the exit code."""
    parser = argparse.ArgumentParser(prog="worker.fetch_child")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, required=True)
    options = parser.parse_args(arguments)

    lifeline = Lifeline(options.events)
    data = FetchInput.model_validate_json((options.folder / "fetch.json").read_bytes())
    lifeline.send(Confined(limits=confine(data.limits, network=True)))
    lifeline.listen()
    try:
        target = urls.parse(data.url, private=data.private, ports=data.ports)
        path = options.folder / DOWNLOAD
        download(target, path, private=data.private, max_bytes=data.max_bytes, sha256=data.sha256, resolve=resolve)
    except UrlRefusedError as error:
        lifeline.send(Failed(code="url_refused", message=str(error)))
        return Exit.FAILED
    except DownloadError as error:
        lifeline.send(Failed(code=error.code, message=str(error)))
        return Exit.FAILED
    lifeline.send(Fetched())
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
