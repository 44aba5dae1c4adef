"""``python -m worker.child FOLDER --events FD``: train one job, within limits, without network or database.

Reads ``job.json`` in the folder and reports as :mod:`worker.protocol` says; :class:`worker.protocol.Exit` has the exit
codes. With ``--standby LIMITS`` it loads what a training of images needs, and then waits for the word that the job is
there.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from fqt_core.config.method_base import Task
from fqt_core.errors import StopRequestedError
from worker.child_errors import explain
from worker.lifeline import Lifeline
from worker.protocol import Confined, Exit, Limits, TrainingInput
from worker.sandbox import confine


def main(arguments: list[str]) -> int:
    """Run the job of the folder; return the exit code."""
    parser = argparse.ArgumentParser(prog="worker.child")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--standby", type=Limits.model_validate_json, metavar="LIMITS")
    options = parser.parse_args(arguments)

    lifeline = Lifeline(options.events)
    if options.standby is not None:
        lifeline.send(Confined(limits=confine(options.standby)))
        lifeline.listen()
        import worker.child_training  # noqa: F401, PLC0415 - takes seconds

        lifeline.start.wait()
    data = TrainingInput.model_validate_json((options.folder / "job.json").read_bytes())
    parallel = data.spec.parallel
    if options.standby is None:
        lifeline.send(Confined(limits=confine(data.limits, loopback=parallel is not None)))
        lifeline.listen()

    def run() -> Exit:
        # Only now: torch or LightGBM, and what decodes images and tables, load and run within the limits.
        if parallel is not None:
            from worker import ranks as work  # noqa: PLC0415
        elif data.spec.task == "tabular":
            from worker import child_trees as work  # type: ignore[no-redef]  # noqa: PLC0415
        elif data.spec.search is not None:
            from worker import child_search as work  # type: ignore[no-redef]  # noqa: PLC0415
        else:
            from worker import child_training as work  # type: ignore[no-redef]  # noqa: PLC0415
        return work.train(data, options.folder, lifeline)

    return outcome(run, lifeline, data.spec.task)


def outcome(run: Callable[[], Exit], lifeline: Lifeline, task: Task) -> Exit:
    """Run a job, or one process's part of it; say why it failed, if it did and that can be explained."""
    try:
        return run()
    except StopRequestedError:
        return Exit.CANCELLED if lifeline.cancel.is_set() else Exit.STOPPED
    except Exception as error:
        failed = explain(error, task)
        if failed is None:
            raise
    finally:
        lifeline.flush()
    traceback.print_exc()
    lifeline.send(failed)
    return Exit.FAILED


if __name__ == "__main__":
    code = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # At once: everything is written and said, and an interpreter that takes torch apart spends up to a second on it.
    os._exit(code)
