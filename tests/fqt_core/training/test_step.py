"""The threads that a training step's parts run on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fqt_core.config import ArchitectureConfig, Convnet, DistillationConfig, Method, Resnet18, TrainConfig, Vgg16
from fqt_core.convert import convert_
from fqt_core.fused import chain
from fqt_core.models import build
from fqt_core.ops.threads import torch_threads
from fqt_core.training.objective import Objective
from fqt_core.training.optimizer import build_optimizer
from fqt_core.training.statistics import QuantizerStatistics
from fqt_core.training.step import training_step

NETWORKS = {
    "vgg16": Vgg16(width=0.125, image_size=32, channels=3),
    "resnet18": Resnet18(width=0.125, image_size=16, channels=3),
    "convnet": Convnet(width=0.25, image_size=16, channels=3),
}
HEADS = {"vgg16": "classifier", "resnet18": "fc", "convnet": "head"}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with torch_threads(2):
        yield


class Seen(nn.Module):
    """A teacher that tells how many threads it has."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        """Logits that say nothing."""
        self.threads.append(torch.get_num_threads())
        return torch.zeros(len(images), 10)


def run(architecture: ArchitectureConfig, seen: list[tuple[str, int]], head: str, objective: Any) -> None:
    """Two micro-batches of one step."""
    model = build(architecture, num_classes=10)
    convert_(model, Method("fqt"), seed=0)
    layer = model.get_submodule(head)
    layer.register_forward_hook(lambda *_: seen.append(("head", torch.get_num_threads())))
    weight = next(layer.parameters())
    weight.register_hook(lambda _: seen.append(("head back", torch.get_num_threads())))  # type: ignore[no-untyped-call]
    optimizer = build_optimizer(model, TrainConfig(epochs=1))
    size = architecture.image_size
    batch = torch.randn(8, 3, size, size), torch.arange(8) % 10
    layers = QuantizerStatistics(model).layers.values()
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    training_step(model, optimizer, batch, seed=0, step=0, classes=10, layers=layers, objective=objective, parts=2)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_runs_alone_and_the_chain_on_all_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    for function, tag in (("_forward", "chain"), ("_leave", "chain back")):
        wrapped = getattr(chain, function)

        def watched(*arguments: Any, wrapped: Any = wrapped, tag: str = tag, **options: Any) -> Any:
            seen.append((tag, torch.get_num_threads()))
            return wrapped(*arguments, **options)

        monkeypatch.setattr(chain, function, watched)
    run(NETWORKS[name], seen, HEADS[name], Objective())
    assert seen == [("chain", 2), ("head", 1), ("head back", 1), ("chain back", 2)] * 2
    assert torch.get_num_threads() == 2


def test_a_teacher_has_all_threads() -> None:
    seen: list[tuple[str, int]] = []
    teacher = Seen()
    run(NETWORKS["vgg16"], seen, "classifier", Objective(0.0, teacher, DistillationConfig()))  # type: ignore[arg-type]
    assert teacher.threads == [2, 2]
    assert [threads for _, threads in seen] == [1] * 4


def test_threads_are_back_after_a_step_that_fails() -> None:
    seen: list[tuple[str, int]] = []

    def fails(*_: Any) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(NETWORKS["vgg16"], seen, "classifier", fails)
    assert seen == [("head", 1)]
    assert torch.get_num_threads() == 2
