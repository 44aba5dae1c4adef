"""What load_weights takes, adapts, skips and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from fqt_core.config import Method
from fqt_core.convert import convert_
from fqt_core.errors import CheckpointError
from fqt_core.export import save_packed, save_weights
from fqt_core.models import build, load_weights

TINY: dict[str, Any] = {"width": 0.0625, "image_size": 16}


def _network(num_classes: int = 3, method: str | None = None, channels: int = 3, **options: Any) -> nn.Module:
    model = build("resnet18", num_classes=num_classes, channels=channels, **TINY)
    if method is not None:
        convert_(model, Method(method, **options))
    return model


def _differing(one: nn.Module, other: nn.Module) -> set[str]:
    """Names of parameters that both have and that differ."""
    mine, yours = dict(one.named_parameters()), dict(other.named_parameters())
    return {name for name in mine.keys() & yours.keys() if not torch.equal(mine[name], yours[name])}


@pytest.mark.parametrize("target", [None, "qat", "fqt"])
@pytest.mark.parametrize("source", [None, "qat"])
def test_latents_pass_between_methods(tmp_path: Path, source: str | None, target: str | None) -> None:
    trained, fresh = _network(method=source), _network(method=target)
    assert _differing(trained, fresh)
    save_weights(trained, tmp_path / "w.safetensors")
    report = load_weights(fresh, tmp_path / "w.safetensors")
    assert not _differing(trained, fresh)
    assert not report.skipped
    assert not report.names("fresh")


def test_a_head_of_another_size_starts_fresh(tmp_path: Path) -> None:
    save_weights(_network(5), tmp_path / "w.safetensors")
    model = _network(3)
    report = load_weights(model, tmp_path / "w.safetensors")
    reason = "the head has 3 outputs here, not 5; it starts fresh"
    assert report.skipped == {"fc.weight": reason, "fc.bias": reason}
    assert report.names("fresh") == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize(("classes", "kept"), [(["a", "b", "c"], True), (["c", "b", "a"], False), (None, True)])
def test_a_head_for_other_classes_starts_fresh(tmp_path: Path, classes: list[str] | None, kept: bool) -> None:
    trained, model = _network(), _network()
    save_weights(trained, tmp_path / "w.safetensors", classes=["a", "b", "c"])
    report = load_weights(model, tmp_path / "w.safetensors", classes=classes)
    assert _differing(trained, model) == (set() if kept else {"fc.weight", "fc.bias"})
    assert ("fc.weight" in report.skipped) is not kept


@pytest.mark.parametrize(("source", "target"), [(3, 1), (1, 3)])
def test_the_first_convolution_passes_between_grey_and_rgb(source: int, target: int) -> None:
    trained, model = _network(channels=source), _network(channels=target)
    report = load_weights(model, trained.state_dict())
    assert report.names("adapted") == ["conv1.weight"]
    grey = torch.randn(2, 1, 16, 16)
    outputs = [network.eval()(grey.expand(-1, channels, -1, -1)) for network, channels in
               ((trained, source), (model, target))]  # fmt: skip
    torch.testing.assert_close(*outputs)


def test_learned_scales_follow_the_weights_they_come_with() -> None:
    full = _network()
    with torch.no_grad():
        full.get_submodule("layer1.0.conv1").weight.fill_(0.25)
    learned = _network(method="qat", weight_scale="learned")
    report = load_weights(learned, full.state_dict())
    assert torch.equal(learned.get_submodule("layer1.0.conv1").alpha, torch.full((8,), 0.25))
    assert "layer1.0.conv1.alpha" in report.names("fresh")
    with torch.no_grad():
        learned.get_submodule("layer1.0.conv1").alpha.fill_(3.0)
    other = _network(method="qat", weight_scale="learned")
    assert not load_weights(other, learned.state_dict()).names("fresh")
    assert torch.equal(other.get_submodule("layer1.0.conv1").alpha, torch.full((8,), 3.0))


def test_names_shapes_and_types_that_do_not_fit_are_said() -> None:
    state = _network().state_dict()
    state["layer1.0.conv1.weight"] = torch.zeros(8, 8, 5, 5)
    state["extra.weight"] = torch.zeros(2)
    state["bn1.weight"] = torch.ones(8, dtype=torch.int32)
    state["bn1.bias"] = torch.ones(8, dtype=torch.float16)
    del state["bn1.running_mean"]
    report = load_weights(_network(), state)
    assert report.skipped == {
        "layer1.0.conv1.weight": "the network's has shape 8x8x3x3",
        "extra.weight": "the network has no tensor of this name",
        "bn1.weight": "torch.int32 is no floating-point type",
    }
    assert report.names("adapted") == ["bn1.bias"]
    assert "bn1.running_mean" in report.names("fresh")
    assert not any("num_batches_tracked" in row.name for row in report.rows)
    text = str(report)
    assert "layer1.0.conv1.weight" in text
    assert "3 skipped" in text
    assert report.to_json()[0]["shape"] == [8, 3, 3, 3]


def test_nothing_is_changed_by_a_source_that_is_refused() -> None:
    model, before = _network(), _network()
    before.load_state_dict(model.state_dict())
    state = _network().state_dict()
    state["fc.bias"] = torch.tensor([0.0, float("nan"), 0.0])
    with pytest.raises(CheckpointError, match=r"tensor 'fc\.bias' holds values that are not finite"):
        load_weights(model, state)
    with pytest.raises(CheckpointError, match="none of its 1 tensors fits"):
        load_weights(model, {"something": torch.zeros(3)})
    assert not _differing(model, before)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    model = _network(method="qat")
    pickled = tmp_path / "weights.pth"
    torch.save(model.state_dict(), pickled)
    with pytest.raises(CheckpointError, match=r"weights\.pth: a pickled torch file, which is never read"):
        load_weights(model, pickled)
    with pytest.raises(CheckpointError, match=r"missing\.safetensors: cannot be read: No such file"):
        load_weights(model, tmp_path / "missing.safetensors")
    packed = tmp_path / "model.safetensors"
    inputs = {"image_size": 16, "channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3}
    save_packed(model, packed, classes=list("abc"), preprocessing=inputs)
    with pytest.raises(CheckpointError, match="packed model with one bit per weight"):
        load_weights(model, packed)


def test_files_of_others_are_taken(tmp_path: Path) -> None:
    trained, model = _network(), _network()
    safetensors.torch.save_file(trained.state_dict(), tmp_path / "w.safetensors", {"format": "pt"})
    load_weights(model, tmp_path / "w.safetensors")
    assert not _differing(trained, model)
