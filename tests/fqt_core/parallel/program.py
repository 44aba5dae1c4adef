"""What each process of a test's run does: several runs in a row; their figures and digests go into a file as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fqt_core.config import EmaConfig, Method, ParallelConfig, Resnet18, TrainConfig
from fqt_core.convert import convert_
from fqt_core.models import build
from fqt_core.parallel.replicas import DistributedReplica, joined
from fqt_core.training import Trainer, seeded_init
from fqt_core.training.replica import Replica
from tests.fqt_core.training.nets import config, figures, network, pictures, sha256

RESUMED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "exact": ("fqt", {"accumulate": 2}, {}),
    "one bit": ("fqt", {}, {"gradient_bits": 1, "sync_batch_norm": True}),
    "steps": ("lsq", {"accumulate": 3}, {"gradient_bits": 8}),
    "three bits": ("unified-int8", {"ema": EmaConfig(decay=0.8, batches=2)}, {"gradient_bits": 3}),
}
"""Method, options of training and of the division of runs that are interrupted."""

WHOLE: dict[str, dict[str, Any]] = {
    "layers": {"optimizer": "sgd", "learning_rate": 0.02, "head_learning_rate": 0.02, "accumulate": 1, "epochs": 2},
    "average": {"optimizer": "sgd", "learning_rate": 0.02, "ema": EmaConfig(decay=0.8, batches=2), "epochs": 2},
}
"""Options of full-precision runs that several processes take as one does, but for rounding."""


def plain(seed: int = 0) -> nn.Module:
    """A network without dropout, whose images are not independent of each other: batch normalisation."""
    with seeded_init(seed):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 16),
            nn.BatchNorm1d(16),
            nn.Linear(16, 3),
        )


def fused_gradients(replica: Replica) -> dict[str, list[float]]:
    """Of a ResNet-18 whose blocks run as a chain with gradients of 8 bits; and the running statistics."""
    with seeded_init(3):
        model = build(Resnet18(width=0.125, image_size=16, channels=1), num_classes=3)
    convert_(model, Method("psq", bits=8))
    forward = replica.attach(model)
    data = pictures(24)
    images = torch.from_numpy(data.images).float().div(255).repeat_interleave(2, 2).repeat_interleave(2, 3)
    share = slice(replica.rank, None, replica.size)
    model.train()
    logits = forward(images[share])
    nn.functional.cross_entropy(logits, torch.from_numpy(data.labels)[share]).backward()
    found = {name: p.grad.flatten().tolist() for name, p in model.named_parameters() if p.grad is not None}
    return found | {name: buffer.flatten().tolist() for name, buffer in model.named_buffers()}


def run(model: nn.Module, wanted: TrainConfig, replica: Replica, **options: Any) -> list[Any]:
    return list(Trainer(model, pictures(own=70), wanted, replica=replica, **options))


def interrupted(name: str, processes: int, folder: Path) -> dict[str, Any]:
    """A run to its end; and one that is stopped twice, each time going on with fresh networks and residuals."""
    method, training, division = RESUMED[name]
    wanted, parallel = config(**training), ParallelConfig(processes=processes, **division)
    model = network(method)
    replica = DistributedReplica(parallel)
    events = run(model, wanted, replica)
    straight = {"sha256": sha256(model), "figures": figures(events)}
    seen, checkpoint, end = [], None, ""
    for polls in (3, 6, 10_000):
        asked = iter(range(10_000))
        model = network(method, seed=0 if checkpoint is None else polls)
        replica = DistributedReplica(parallel)
        stop = (lambda asked=asked, polls=polls: next(asked) >= polls) if replica.rank == 0 else None
        events = run(model, wanted, replica, checkpoint_dir=folder, resume_from=checkpoint, should_stop=stop)
        seen += figures(events)
        end = sha256(model)
        checkpoint = replica.broadcast(next((e.path for e in reversed(events) if e.type == "checkpoint"), None))
    told = [event.model_dump() for event in events if event.type == "gradients_exchanged"]
    return {"straight": straight, "interrupted": {"sha256": end, "figures": seen}, "exchanged": told}


def main() -> None:
    torch.set_num_threads(1)
    with joined(ParallelConfig(processes=2), torch.device("cpu")) as group:
        processes = group.size
        together = ParallelConfig(processes=processes, sync_batch_norm=True)
        found: dict[str, Any] = {"runs": {}, "whole": {}}
        folder = group.broadcast(tempfile.mkdtemp(dir=Path(sys.argv[1]).parent) if group.rank == 0 else None)
        for name in RESUMED:
            found["runs"][name] = interrupted(name, processes, Path(folder))
        for name, options in WHOLE.items():
            model = plain()
            events = run(model, config(**options), DistributedReplica(together))
            assert {type(module) for module in model.modules()} == {type(module) for module in plain().modules()}
            weights = {key: tensor.tolist() for key, tensor in model.state_dict().items()}
            found["whole"][name] = {"weights": weights, "figures": figures(events)}
        found["fused"] = fused_gradients(DistributedReplica(together))
    Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
