"""``python -m fqt_core.parallel SPEC --data DATA --output FOLDER``: train in several processes, on several machines.

``SPEC`` is a JSON file with ``parallel`` and any of ``architecture``, ``method``, ``training``, ``classes``, as in a
job's spec. On several machines the same command is given on each, with ``--hosts`` and ``--rendezvous``; its processes
are divided among them. A process that is lost, on any of them, is started anew, and all go on from the last checkpoint;
a command that is given again goes on too. Result files are on the host that says ``done``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pydantic import ValidationError

from fqt_core.errors import ConfigurationError
from fqt_core.parallel.launch import LOOPBACK, Meeting, launch
from fqt_core.parallel.spec import RunSpec, Work

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fqt_core.parallel", description="Train in several processes.")
    parser.add_argument("spec", type=Path, help="JSON file")
    parser.add_argument("--data", required=True, help="folder, archive, or name of a built-in data set")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and results, on each host")
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, help="of each process; the same on all hosts")
    parser.add_argument("--hosts", type=int, default=1, help="machines that this command is given on")
    parser.add_argument("--rendezvous", help="ADDRESS:PORT of the first host, the same on all")
    parser.add_argument("--address", default=LOOPBACK, help="IPv4 address by which the other hosts reach this one")
    parser.add_argument("--run", default="fqt", help="a name of this run, the same on all hosts")
    parser.add_argument("--wait", type=int, default=600, help="seconds to wait for the other hosts")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run this host's agent to the end of the run."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        spec = RunSpec.model_validate_json(given.spec.read_bytes())
    except OSError as error:
        parser.exit(2, f"fqt_core.parallel: error: {error}\n")
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        parser.exit(2, f"fqt_core.parallel: error: {given.spec}: {faults}\n")
    processes, rest = divmod(spec.parallel.processes, max(1, given.hosts))
    if given.hosts < 1 or rest or not processes:
        message = f"--hosts: {spec.parallel.processes} processes cannot be divided evenly among {given.hosts} hosts"
        parser.exit(2, f"fqt_core.parallel: error: {message}; change parallel.processes or --hosts\n")
    if (given.rendezvous is None) != (given.hosts == 1):
        parser.exit(2, "fqt_core.parallel: error: --hosts and --rendezvous go together\n")
    meeting = Meeting(given.hosts, given.rendezvous or Meeting.endpoint, given.address, given.run, given.wait)
    work = Work(spec=spec, data=given.data, output=given.output, device=given.device, threads=given.threads)
    for name in _THREADS:
        os.environ[name] = str(given.threads)
    reading, writing = os.pipe()  # the processes' stdin; that it ends tells them that this process did
    os.dup2(reading, sys.stdin.fileno())
    os.close(reading)
    os.set_inheritable(writing, False)
    from torch.distributed.elastic.multiprocessing import SignalException  # noqa: PLC0415 - slow to import

    command = [sys.executable, "-m", "fqt_core.parallel.run", work.model_dump_json()]
    try:
        launch(command, processes, meeting)
    except ConfigurationError as error:
        parser.exit(2, f"fqt_core.parallel: error: --address: {error}\n")
    except SignalException:
        sys.exit(1)


if __name__ == "__main__":
    main()
