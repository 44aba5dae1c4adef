"""A training child whose job is divided among processes: it starts them, passes on what they say, and ends with them.

The ranks run under torch's elastic agent, which is this process. They inherit one end of a socket as their stdin, the
way a child has its supervisor's pipes (:mod:`worker.rank`): lines of rank 0 go on to the supervisor, words of the
supervisor to rank 0. Whatever ends this process ends the ranks: the socket closes, and the kernel kills them.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

from fqt_core.config import ParallelConfig
from fqt_core.parallel.launch import launch
from worker.lifeline import Lifeline
from worker.process import child_command
from worker.protocol import Ended, Exit, Ready, TrainingInput, Word, parse_message

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def train(data: TrainingInput, folder: Path, lifeline: Lifeline) -> Exit:
    """Run the job's processes to their end. The first one that says how the run ended, ends this process.

    Raises:
        torch.distributed.elastic.multiprocessing.errors.ChildFailedError: they were lost too often, and not by a
            signal: by one, this process ends as the first of them did.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415 - torch, once confined

    parallel = data.spec.parallel
    assert parallel is not None
    line = _Line(lifeline)
    for name in _THREADS:
        os.environ[name] = str(rank_threads(data.threads, parallel))
    memory = (data.limits.memory_bytes - _own_bytes()) // parallel.processes
    try:
        launch([*child_command("worker.rank"), str(folder), "--memory", str(memory)], parallel.processes)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode < 0:
            signal.signal(-failure.exitcode, signal.SIG_DFL)
            os.kill(os.getpid(), -failure.exitcode)
        raise
    line.wait()
    return Exit.ORPHANED  # all ended well, and none said how: their socket is gone


def rank_threads(threads: int, parallel: ParallelConfig) -> int:
    """Threads of each process of a job that has so many."""
    return max(1, threads // parallel.processes)


def _own_bytes() -> int:
    """Private memory that this process has taken of what the whole job may."""
    fields = Path("/proc/self/status").read_text().split("VmData:")[1].split()
    return int(fields[0]) * 1024


class _Line:
    """The socket to the ranks, and the threads that pass on what is said."""

    def __init__(self, lifeline: Lifeline) -> None:
        self._lifeline = lifeline
        self._ours, theirs = socket.socketpair()
        os.dup2(theirs.fileno(), 0)
        theirs.close()
        self._reader = threading.Thread(target=self._listen, name="ranks", daemon=True)
        self._reader.start()
        for event, word in ((lifeline.stop, Word.STOP), (lifeline.cancel, Word.CANCEL)):
            threading.Thread(target=self._pass_on, args=(event, word), name=word, daemon=True).start()

    def wait(self) -> None:
        """Until the ranks have no more to say; returns only if they did not say how the run ended."""
        os.close(0)
        self._reader.join()

    def _pass_on(self, event: threading.Event, word: Word) -> None:
        event.wait()
        self._say(word)

    def _say(self, word: Word) -> None:
        self._ours.sendall(f"{word}\n".encode())

    def _listen(self) -> None:
        with self._ours.makefile("rb") as lines:
            for text in lines:
                message = parse_message(text)
                if isinstance(message, Ended):
                    os._exit(message.code)  # at once, and the ranks with it: everything is written and said
                elif isinstance(message, Ready):
                    # After a restart there is another rank 0, which has heard nothing yet.
                    if self._lifeline.cancel.is_set():
                        self._say(Word.CANCEL)
                    elif self._lifeline.stop.is_set():
                        self._say(Word.STOP)
                else:
                    self._lifeline.send(message)
