"""An ONNX file gives the logits of the model that it was written from, and says nothing of the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from fqt_core import export
from fqt_core.config import ArchitectureConfig, Convnet, Method, MethodConfig, Resnet18, Vgg16
from fqt_core.convert import convert_
from fqt_core.data.batches import Preprocessing
from fqt_core.errors import CheckpointError
from fqt_core.models import build

CLASSES = ["ant", "bee", "cat"]
TOLERANCE = 1e-4
CASES: dict[str, tuple[ArchitectureConfig, MethodConfig]] = {
    "convnet": (Convnet(width=0.5, image_size=16, channels=1, shortcuts=False), Method("fqt")),
    "bi-real convnet": (Convnet(width=0.5, image_size=16, channels=3, shortcuts=True), Method("fqt")),
    "resnet18": (Resnet18(width=0.25, image_size=32, channels=3), Method("fqt")),
    # With hidden layers, whose products are no convolutions.
    "vgg16": (Vgg16(width=0.125, image_size=32, channels=3, stem="imagenet"), Method("qat", weight_scale="learned")),
    "int8": (Convnet(width=0.5, image_size=16, channels=1), Method("unified-int8")),
    "lsq": (Convnet(width=0.5, image_size=16, channels=1), Method("lsq", activation_bits=8)),
    "fp32": (Resnet18(width=0.125, image_size=24, channels=1, stem="imagenet"), Method("fp32")),
}


def _network(config: ArchitectureConfig, method: MethodConfig) -> nn.Module:
    """A network after two steps, with a negative scale where it learns them."""
    torch.manual_seed(0)
    model = build(config, num_classes=len(CLASSES))
    convert_(model, method)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(2):
        images = torch.randn(6, config.channels, config.image_size, config.image_size)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.arange(6) % 3).backward()
        optimizer.step()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("alpha"):
                value[::3].neg_()
    return model.eval()


def _file(model: nn.Module, config: Any, path: Path) -> Path:
    count = config.channels
    inputs = Preprocessing(config.image_size, count, (0.4, 0.5, 0.6)[:count], (0.2, 0.25, 0.3)[:count])
    export.save_packed(model, path, classes=CLASSES, preprocessing=inputs)
    return path


@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_finds_the_same_logits(tmp_path: Path, case: str) -> None:
    config, method = CASES[case]
    model, path = _network(config, method), tmp_path / "model.onnx"
    packed = export.load(_file(model, config, tmp_path / "model.safetensors"))
    report = export.to_onnx(tmp_path / "model.safetensors", path)
    differences = export.onnx_differences(packed, path)
    # One image may be at a machine's mercy: a value of its first convolution is zero but for rounding.
    assert sorted(differences)[-2] < TOLERANCE, differences
    assert (report.bytes, report.input, report.opset) == (path.stat().st_size, "uint8", 18)

    if method.binarises:  # a bit takes a byte
        assert report.bytes < 1.5 * sum(value.numel() for value in model.parameters()) + 100_000

    written = onnx.load(path)
    onnx.checker.check_model(written, full_check=True)
    assert [entry.version for entry in written.opset_import if entry.domain == ""] == [18]
    record = json.loads({entry.key: entry.value for entry in written.metadata_props}["fqt"])
    assert record["classes"] == CLASSES
    assert record["architecture"]["name"] == config.name
    assert str(Path(export.__file__).parents[2]).encode() not in path.read_bytes()  # no paths of this machine


def test_sums_of_zero_keep_their_sign(tmp_path: Path) -> None:
    """Untrained normalisations add nothing, so that many values before a sign are exactly zero."""
    config, method = CASES["convnet"]
    torch.manual_seed(0)
    model = build(config, num_classes=len(CLASSES))
    convert_(model, method)
    packed = export.load(_file(model, config, tmp_path / "model.safetensors"))
    export.to_onnx(packed, tmp_path / "model.onnx")
    assert sorted(export.onnx_differences(packed, tmp_path / "model.onnx"))[-2] < TOLERANCE
    with torch.no_grad():
        model.get_submodule("head").bias.add_(0.01)  # type: ignore[operator, union-attr]
    other = export.load(_file(model, config, tmp_path / "other.safetensors"))
    assert min(export.onnx_differences(other, tmp_path / "model.onnx")) == pytest.approx(0.01, abs=TOLERANCE)


def test_a_network_is_written_as_it_takes_its_input(tmp_path: Path) -> None:
    config, method = CASES["bi-real convnet"]
    model, path = _network(config, method), tmp_path / "model.onnx"
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = export.to_onnx(model, path)
    assert report.input == "float32"
    images = torch.randn(5, 3, 16, 16)
    (found,) = onnxruntime.InferenceSession(path).run(["logits"], {"images": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model(images).numpy(), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(model.state_dict(), before)
    again = tmp_path / "again.onnx"
    export.to_onnx(model, again)
    assert again.read_bytes() == path.read_bytes()


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"no model")
    with pytest.raises(CheckpointError):
        export.to_onnx(path, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
