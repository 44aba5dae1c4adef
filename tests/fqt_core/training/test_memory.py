"""A step that a device's memory does not hold is taken again in smaller micro-batches, and that is told."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fqt_core.config import EmaConfig, Fqt
from fqt_core.errors import DeviceMemoryError
from fqt_core.events import EpochDone, LogLine, StepDone, WarningRaised
from fqt_core.ops import waiting
from fqt_core.training import choice
from fqt_core.training.confusion import judge
from fqt_core.training.evaluation import evaluate
from fqt_core.training.probe import GradientProbe
from worker.child_errors import explain

from .nets import config, network, pictures, sha256, stop_after, train

CPU = torch.device("cpu")
TOLD = "CUDA out of memory. Tried to allocate 2.00 GiB.\nThe rest is for experts."


@pytest.fixture(autouse=True)
def _on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have steps taken as on a GPU."""
    monkeypatch.setattr(waiting, "at_once", lambda _: False)


@contextmanager
def memory_for(
    model: nn.Module, images: int, *, since: int = 0, backward: bool = False, training: bool = True
) -> Iterator[list[int]]:
    """Let a layer run out of memory over more images, from step ``since`` on; gives the sizes that it was asked for.

    ``backward``: it has room on the way forward, and none on the way back. ``training``: it runs out in this mode.
    """
    asked: list[int] = []

    def look(module: nn.Module, given: Any, *_: Any) -> None:
        if module.training == training and model.fqt_state.step >= since:  # type: ignore[union-attr, operator]
            asked.append(len(given[0]))
            if len(given[0]) > images:
                raise torch.OutOfMemoryError(TOLD)

    layer = model[5]  # type: ignore[index]
    handle = layer.register_full_backward_hook(look) if backward else layer.register_forward_hook(look)
    yield asked
    handle.remove()


@pytest.mark.parametrize(
    ("method", "options", "backward"),
    [("fqt", {}, False), ("fqt", {}, True), ("fqt", {"groups": "pixel"}, True), ("fp32", {}, False)],
)
def test_a_step_after_a_retry_is_that_of_smaller_micro_batches(
    method: str, options: dict[str, Any], backward: bool
) -> None:
    """Weights, running statistics and everything that is reported of training, bit for bit."""
    plain, short = network(method, **options), network(method, **options)
    wanted = train(plain, config(batch_size=16, accumulate=4))
    with memory_for(short, 5, backward=backward) as asked:
        events = train(short, config(batch_size=16))
    assert asked[:2] == [16, 8]
    assert sha256(short) == sha256(plain)
    steps, expected = ([(e.step, e.loss) for e in found if isinstance(e, StepDone)] for found in (events, wanted))
    assert steps == expected
    told = [event for event in events if isinstance(event, WarningRaised)]
    assert [event.code for event in told] == ["smaller_micro_batches"]
    assert "from this step on they are of 4 images, as with training.accumulate 4" in told[0].message
    assert events.index(told[0]) == events.index(next(e for e in events if isinstance(e, StepDone))) + 1


def test_memory_that_runs_out_late_and_a_resume(tmp_path: Path) -> None:
    """Smaller micro-batches from the step on that did not fit, also across a checkpoint."""
    wanted = config(epochs=2, ema=EmaConfig(batches=2))
    whole, stopped, resumed = network("fqt"), network("fqt"), network("fqt")
    with memory_for(whole, 8, since=3):
        train(whole, wanted)
    with memory_for(stopped, 8, since=3):
        last = stop_after(stopped, wanted, 5, tmp_path)[-2]
    with memory_for(resumed, 8, since=3) as asked:
        events = train(resumed, wanted, resume_from=last.path)  # type: ignore[union-attr]
    assert max(asked) <= 8  # nothing is tried in vain, and nothing told twice
    assert not [event for event in events if isinstance(event, WarningRaised)]
    assert sha256(resumed) == sha256(whole)
    plain = network("fqt")
    train(plain, wanted)
    assert sha256(plain) != sha256(whole)


def test_what_does_not_fit_at_all_is_a_clear_failure() -> None:
    model = network("fqt")
    before = copy.deepcopy(dict(model.named_parameters()))
    with memory_for(model, 1) as asked, pytest.raises(DeviceMemoryError, match="micro-batch of 2 images") as caught:
        train(model, config(batch_size=16))
    assert asked == [16, 8, 4, 2]
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    failed = explain(caught.value)
    assert failed is not None
    assert (failed.code, failed.param) == ("out_of_memory", "architecture.width")
    assert "CUDA out of memory. Tried to allocate 2.00 GiB." in failed.message
    assert "experts" not in failed.message


def test_validation_goes_on_with_fewer_images() -> None:
    """With the figures of the run that had the memory, but for the order of sums."""
    plain, short = network("fqt"), network("fqt")
    wanted = [event for event in train(plain, config(epochs=2)) if isinstance(event, EpochDone)]
    with memory_for(short, 5, training=False) as asked:
        found = [event for event in train(short, config(epochs=2)) if isinstance(event, EpochDone)]
    assert asked[:4] == [18, 9, 4, 4]
    assert sha256(short) == sha256(plain)
    assert [event.validation_accuracy for event in found] == [event.validation_accuracy for event in wanted]
    assert [event.validation_loss for event in found] == pytest.approx([event.validation_loss for event in wanted])
    data = [(torch.randn(7, 1, 8, 8), torch.arange(7) % 3)]
    whole = judge(short, data)
    with memory_for(short, 3, training=False):
        parts = judge(short, data)
    assert whole is not None
    assert parts is not None
    assert all(torch.equal(getattr(parts, name), getattr(whole, name)) for name in ("labels", "predicted"))
    with (
        memory_for(short, 0, training=False),
        pytest.raises(DeviceMemoryError, match=r"1 image \(CUDA out of memory. Tried"),
    ):
        evaluate(short, data)


def test_a_probe_goes_on_with_fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds what one of so few images finds from the start."""
    monkeypatch.setattr(choice, "WARMUP_STEPS", 3)
    method = Fqt(bits="auto")

    def found(images: int) -> tuple[dict[str, Any], list[int]]:
        model = network("fqt", bits=8, pruning="none")
        monkeypatch.setattr(choice, "probed_images", lambda *_: images)
        with memory_for(model, 6) as asked:
            probed = choice.probe(model, pictures(), config(batch_size=16), method, CPU)
        return {name: vars(noise) for name, noise in probed.noise.items()}, asked

    seen, asked = found(16)
    assert asked[:3] == [16, 8, 4]
    assert asked[-4:] == [16, 8, 4, 4]
    assert found(4)[0] == seen
    with pytest.raises(DeviceMemoryError, match="micro-batch of 2 images"), memory_for(model := network("fqt"), 1):
        choice.probe(model, pictures(), config(batch_size=16), method, CPU)


def test_telemetry_that_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError(TOLD)

    monkeypatch.setattr(GradientProbe, "measure", measure)
    events = train(network("fqt"), config(telemetry_every_steps=2))
    left_out = [event for event in events if isinstance(event, LogLine)]
    assert left_out
    assert all("no gradient telemetry at step" in event.message for event in left_out)
    assert events[-1].type == "done"


def test_a_gpu_that_is_too_small_is_told_without_the_workers_memory() -> None:
    """What runs out elsewhere than in a step, in validation or while a network is built."""
    gpu, machine = (explain(error) for error in (torch.OutOfMemoryError(TOLD), MemoryError()))
    assert gpu is not None
    assert machine is not None
    assert gpu.message.endswith("or a GPU with more memory")
    assert machine.message.endswith("(FQT_CHILD_MEMORY_BYTES, FQT_SLOTS)")
