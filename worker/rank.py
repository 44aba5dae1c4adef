"""``python -m worker.rank FOLDER --memory BYTES``: one of the processes of a job that is divided among several.

Started by :mod:`worker.ranks` under torch's elastic agent, whose environment says which one it is. Rank 0 reports and
writes files. All of them go on from the newest checkpoint that rank 0 kept, if they were started anew.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from pathlib import Path

from pydantic import BaseModel

from fqt_core.events import Failed, WarningRaised
from worker.child import outcome
from worker.lifeline import Lifeline
from worker.protocol import Ended, Exit, Ready, TrainingInput
from worker.ranks import rank_threads
from worker.sandbox import confine


class RankLine(Lifeline):
    """The way to the agent, which all ranks share: line by line. Ranks other than 0 only say why the run must end."""

    def __init__(self, folder: Path, rank: int) -> None:
        super().__init__(os.dup(sys.stdin.fileno()))
        self._rank = rank
        self._turn = (folder / "ranks.lock").open("ab")

    def send(self, message: BaseModel) -> None:
        """Write one message, whole, while no other rank does."""
        if self._rank > 0 and not isinstance(message, Failed | Ended):
            return
        fcntl.lockf(self._turn, fcntl.LOCK_EX)
        try:
            super().send(message)
        finally:
            fcntl.lockf(self._turn, fcntl.LOCK_UN)


def main(arguments: list[str]) -> int:
    """Run this process's part of the job; return the exit code, 0 unless it is to be started anew."""
    parser = argparse.ArgumentParser(prog="worker.rank")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--memory", type=int, required=True)
    options = parser.parse_args(arguments)

    rank, restarts = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    data = TrainingInput.model_validate_json((options.folder / "job.json").read_bytes())
    lifeline = RankLine(options.folder, rank)
    confine(data.limits.model_copy(update={"memory_bytes": options.memory, "nice": 0}), network=True)
    if rank == 0:
        lifeline.send(Ready())
        lifeline.listen()
    else:
        lifeline.watch()
    if restarts:
        message = f"a process of the job was lost; all go on from the last checkpoint (restart {restarts})"
        lifeline.send(WarningRaised(code="processes_restarted", message=message))

    def run() -> Exit:
        # Only now: torch, and what decodes images, load and run within the limits.
        from worker.child_training import train_as_rank  # noqa: PLC0415

        assert data.spec.parallel is not None
        part = data.model_copy(update={"threads": rank_threads(data.threads, data.spec.parallel)})
        return train_as_rank(part, data.spec.parallel, options.folder, lifeline)

    code = outcome(run, lifeline, data.spec.task)
    if rank == 0 or code == Exit.FAILED:
        lifeline.send(Ended(code=code))
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
