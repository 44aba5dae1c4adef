"""One process of ``python -m fqt_core.parallel``: trains its share, on whatever host it is.

Hosts need not have files in common: the newest checkpoint that any of them has is sent to all before a run goes on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import distributed

from fqt_core.errors import FqtError
from fqt_core.parallel.launch import end_with
from fqt_core.parallel.replicas import DistributedReplica, joined, local_device
from fqt_core.parallel.spec import Work
from fqt_core.training import prepare, resolve_device

CHECKPOINTS = "checkpoints"
_ORPHANED = 1


def main(work: Work) -> None:
    """Train; process 0 writes events to stdout, a line of JSON each, and the result's files."""
    torch.set_num_threads(work.threads)
    spec, device = work.spec, local_device(resolve_device(work.device))
    with joined(spec.parallel, device) as replica:
        checkpoints = work.output / CHECKPOINTS
        with newest(replica, checkpoints) as checkpoint:
            session = prepare(
                architecture=spec.architecture,
                method=spec.method,
                training=spec.training,
                data=work.data,
                classes=spec.classes,
                checkpoint_dir=checkpoints,
                resume_from=checkpoint,
                device=device,
                replica=replica,
            )
        if replica.rank > 0:
            for _ in session.trainer:
                pass
            return
        for event in session.run(work.output, spec=spec.model_dump(mode="json")):
            sys.stdout.write(event.model_dump_json() + "\n")
            sys.stdout.flush()


@contextmanager
def newest(replica: DistributedReplica, folder: Path) -> Iterator[Path | None]:
    """For the time of a ``with`` block: the newest checkpoint of any host, on this one; ``None`` if there is none."""
    own = max(folder.glob("checkpoint-*.safetensors"), default=None)
    names: list[str] = [""] * replica.size
    distributed.all_gather_object(names, "" if own is None else own.name)
    name = max(names)
    if not name:
        yield None
        return
    path, source = folder / name, names.index(name)
    told = [path.read_bytes() if replica.rank == source else b""]
    distributed.broadcast_object_list(told, source)
    if names[replica.rank] == name:
        yield path
        return
    # A file of this process's own: others of this host may be writing the same.
    folder.mkdir(parents=True, exist_ok=True)
    received = folder / f"received-{replica.rank}.safetensors"
    received.write_bytes(told[0])
    try:
        yield received
    finally:
        received.unlink(missing_ok=True)


if __name__ == "__main__":
    end_with(0, _ORPHANED)
    try:
        main(Work.model_validate_json(sys.argv[1]))
    except FqtError as error:
        # Another try would end in the same way: so does the agent, which would start this process anew.
        sys.stderr.write(f"fqt_core.parallel: error: {error}\n")
        os.kill(os.getppid(), signal.SIGTERM)
        signal.pause()
    # At once: torch's threads may want the interpreter while it is taken down, which aborts the process, and the agents
    # would start a run anew that has ended.
    os._exit(0)
