"""``python -m worker.model_child FOLDER --events FD``: answer questions about models, within limits, without network.

Reads ``models.json`` in the folder, then frames of :mod:`jobs.asks` from stdin, each after its length in 8 bytes, until
that ends. Each gets one line: :class:`worker.protocol.Answered`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from jobs.asks import decode
from worker.lifeline import Lifeline
from worker.model_desk import ModelDesk
from worker.protocol import Confined, Exit, ModelInput
from worker.sandbox import confine


def main(arguments: list[str]) -> int:
    """Answer until nobody asks any more; return the exit code."""
    parser = argparse.ArgumentParser(prog="worker.model_child")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, required=True)
    options = parser.parse_args(arguments)

    lifeline = Lifeline(options.events)
    data = ModelInput.model_validate_json((options.folder / "models.json").read_bytes())
    lifeline.send(Confined(limits=confine(data.limits)))
    desk = ModelDesk(options.folder, threads=data.threads, cache_bytes=data.cache_bytes)
    for frame in lifeline.frames():
        lifeline.send(desk.answer(*decode(frame)))
    return Exit.ORPHANED


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
