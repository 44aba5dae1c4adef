"""A packed model predicts what the network it came from predicts, at a 32nd of its binarised weights' size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fqt_core import export
from fqt_core.config import ArchitectureConfig, Convnet, Method, MethodConfig, Resnet18, Vgg16
from fqt_core.config.plan import network_plan
from fqt_core.convert import convert_
from fqt_core.data.batches import Preprocessing
from fqt_core.errors import ConfigurationError, ConversionError, DataError
from fqt_core.layers import BinaryLayer, PackedConv2d
from fqt_core.models import build

ARCHITECTURES: list[ArchitectureConfig] = [
    Resnet18(width=0.2, image_size=13, channels=3),
    Resnet18(width=0.0625, image_size=24, channels=1, stem="imagenet"),
    Vgg16(width=0.2, image_size=11, channels=1),
    Vgg16(width=0.0625, image_size=16, channels=3, stem="imagenet"),
    Convnet(width=0.25, image_size=15, channels=1, shortcuts=True),
]
METHODS = [
    Method("fqt"),
    Method("qat", weight_scale="learned"),
    Method("psq", weight_scale="none"),
    Method("fp32"),
    Method("adaptive-int8"),
    Method("lsq"),
]
CLASSES = ["ant", "bee", "cat"]


def _inputs(config: ArchitectureConfig) -> Preprocessing:
    count = config.channels
    return Preprocessing(config.image_size, count, (0.4, 0.5, 0.6)[:count], (0.2, 0.25, 0.3)[:count])


def _trained(config: ArchitectureConfig, method: MethodConfig, **options: Any) -> nn.Module:
    """A network after a few steps, so that batch statistics, scales and signs are not the initial ones."""
    torch.manual_seed(0)
    model = build(config, num_classes=len(CLASSES))
    convert_(model, method, **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(2):
        images = torch.randn(6, config.channels, config.image_size, config.image_size)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.arange(6) % 3).backward()
        optimizer.step()
    return model.eval()


def _images(config: ArchitectureConfig) -> Tensor:
    shape = (9, config.channels, config.image_size, config.image_size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("config", ARCHITECTURES, ids=lambda config: f"{config.name}-{getattr(config, 'stem', '')}")
def test_a_loaded_model_gives_the_same_logits(tmp_path: Path, config: ArchitectureConfig, method: MethodConfig) -> None:
    model, images = _trained(config, method), _images(config)
    path = tmp_path / "model.safetensors"
    report = export.save_packed(model, path, classes=CLASSES, preprocessing=_inputs(config))
    with torch.no_grad():
        expected = model(_inputs(config)(images))
    loaded = export.load(path)
    torch.testing.assert_close(loaded.logits(images), expected)
    labels = [prediction.label for prediction in loaded.predict(images)]
    assert labels == [CLASSES[index] for index in expected.argmax(1).tolist()]
    assert report.bytes == path.stat().st_size
    plan = network_plan(config, len(CLASSES), method)
    header = next(part.bytes for part in report.parts if part.name == "header")
    assert report.bytes - header == plan.model_bytes
    binary = next(part for part in report.parts if part.name == "binary weights")
    assert binary.fp32_bytes == 32 * binary.bytes == 4 * plan.binary_parameters
    assert not any(isinstance(module, BinaryLayer) for module in loaded.network.modules())
    assert any(isinstance(module, PackedConv2d) for module in loaded.network.modules()) is method.binarises
    assert not any(value.is_meta for value in loaded.network.state_dict().values())


def test_what_was_recorded_comes_back(tmp_path: Path) -> None:
    config, path = ARCHITECTURES[0], tmp_path / "m.safetensors"
    spec, metrics = {"dataset": "digits", "training": {"epochs": 3}}, {"validation_accuracy": 0.5}
    export.save_packed(
        _trained(config, METHODS[0]), path, classes=CLASSES, preprocessing=_inputs(config), spec=spec, metrics=metrics
    )
    loaded = export.load(path)
    assert (loaded.classes, loaded.spec, loaded.metrics) == (CLASSES, spec, metrics)
    assert (loaded.architecture, loaded.method) == (config, METHODS[0])
    assert loaded.preprocessing == _inputs(config)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    config = ARCHITECTURES[0]
    model = _trained(config, METHODS[0])
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        export.save_packed(model, file, classes=CLASSES, preprocessing=_inputs(config).to_json(), spec={"b": 1, "a": 2})
    assert files[0].read_bytes() == files[1].read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"a", "b"}


def test_partly_converted_networks_keep_their_full_precision_layers(tmp_path: Path) -> None:
    config, path = ARCHITECTURES[0], tmp_path / "m.safetensors"
    model = _trained(config, METHODS[0], filter_fn=lambda name, _: name.startswith("layer4"))
    export.save_packed(model, path, classes=CLASSES, preprocessing=_inputs(config))
    loaded = export.load(path)
    packed = [name for name, module in loaded.network.named_modules() if isinstance(module, PackedConv2d)]
    assert packed == [f"layer4.{block}.conv{number}" for block in (0, 1) for number in (1, 2)]
    images = _images(config)
    torch.testing.assert_close(loaded.logits(images), model(_inputs(config)(images)).detach())


def test_images_of_every_kind_are_predicted_alike(tmp_path: Path) -> None:
    config = ARCHITECTURES[0]
    path = tmp_path / "m.safetensors"
    export.save_packed(_trained(config, METHODS[0]), path, classes=CLASSES, preprocessing=_inputs(config))
    model = export.load(path)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    picture, file = Image.fromarray(pixels), tmp_path / "image.png"
    picture.save(file)
    array = pixels.transpose(2, 0, 1)
    one = model.predict([file])
    assert one == model.predict([str(file)]) == model.predict([picture]) == model.predict([array])
    assert one == model.predict(torch.from_numpy(array.copy())[None])
    assert model.predict([picture.convert("L"), file])[1].label == one[0].label
    assert model.predict([]) == []


def test_predictions_are_ranked_probabilities(tmp_path: Path) -> None:
    config, path = ARCHITECTURES[2], tmp_path / "m.safetensors"
    network = _trained(config, METHODS[0])
    export.save_packed(network, path, classes=CLASSES, preprocessing=_inputs(config))
    model, images = export.load(path), _images(config)
    expected = torch.softmax(network(_inputs(config)(images)), 1)
    for prediction, row in zip(model.predict(images, top=9), expected.tolist(), strict=True):
        assert prediction.top[0] == (prediction.label, prediction.probability)
        assert [share for _, share in prediction.top] == pytest.approx(sorted(row, reverse=True), abs=1e-6)
        assert {label: row[CLASSES.index(label)] for label, _ in prediction.top} == pytest.approx(
            dict(prediction.top), abs=1e-6
        )
    assert [len(prediction.top) for prediction in model.predict(images, top=2)] == [2] * 9
    many = images.repeat(20, 1, 1, 1)  # more than one batch
    assert [p.label for p in model.predict(many)] == [p.label for p in model.predict(images)] * 20


def test_five_classes_are_named_unless_said_otherwise(tmp_path: Path) -> None:
    config, classes = ARCHITECTURES[0], list("abcdefg")
    model = build(config, num_classes=len(classes))
    export.save_packed(model, tmp_path / "m", classes=classes, preprocessing=_inputs(config))
    assert [len(prediction.top) for prediction in export.load(tmp_path / "m").predict(_images(config))] == [5] * 9


def test_images_that_are_none_are_named(tmp_path: Path) -> None:
    config, path = ARCHITECTURES[0], tmp_path / "m.safetensors"
    export.save_packed(_trained(config, METHODS[0]), path, classes=CLASSES, preprocessing=_inputs(config))
    model = export.load(path)
    with pytest.raises(DataError, match=r"gone\.png: cannot be read: No such file"):
        model.predict([tmp_path / "gone.png"])
    with pytest.raises(DataError) as fault:
        model.predict([path])
    assert fault.value.where == str(path)
    with pytest.raises(DataError, match=r"images\[1\]: an array must be uint8 .* got float32 \(3, 4, 4\)"):
        model.predict([np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4, 4), np.float32)])
    with pytest.raises(DataError, match=r"images: an array must be \(N, C, H, W\), got 3 dimensions"):
        model.predict(torch.zeros(3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ConfigurationError, match="top must be at least 1"):
        model.predict([], top=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["ant", "bee"]}, "2 class names for num_classes=3"),
        (
            {"preprocessing": {"image_size": 8, "channels": 3, "mean": [0] * 3, "std": [1] * 3}},
            "network takes 3 and 13",
        ),
        ({"preprocessing": {"image_size": 13, "channels": 3, "mean": [0], "std": [1]}}, "one per channel"),
        ({"preprocessing": {"image_size": 13, "channels": 3, "mean": [0] * 3, "std": [0] * 3}}, "greater than 0"),
        ({"metrics": {"loss": float("nan")}}, "plain JSON with finite numbers"),
        ({"spec": {"when": object()}}, "plain JSON"),
    ],
)
def test_what_does_not_fit_is_not_saved(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    config = ARCHITECTURES[0]
    model = build(config, num_classes=3)
    arguments: dict[str, Any] = {"classes": CLASSES, "preprocessing": _inputs(config), **change}
    with pytest.raises(ConfigurationError, match=message):
        export.save_packed(model, tmp_path / "m", **arguments)
    assert not list(tmp_path.iterdir())


def test_networks_that_cannot_be_saved(tmp_path: Path) -> None:
    config = ARCHITECTURES[0]
    own = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ConfigurationError, match=r"only networks from fqt_core\.models\.build"):
        export.save_packed(own, tmp_path / "m", classes=["a", "b"], preprocessing=_inputs(config))
    model = _trained(config, METHODS[0])
    with torch.no_grad():
        model.get_submodule("layer1.0.conv1").weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ConfigurationError, match=r"not all values of layer1\.0\.conv1\S* are finite"):
        export.save_packed(model, tmp_path / "m", classes=CLASSES, preprocessing=_inputs(config))
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        export.save_weights(model, tmp_path / "no" / "folder")


def test_packed_networks_have_no_weights_to_go_on_from(tmp_path: Path) -> None:
    config, path = ARCHITECTURES[0], tmp_path / "m"
    export.save_packed(_trained(config, METHODS[0]), path, classes=CLASSES, preprocessing=_inputs(config))
    with pytest.raises(ConversionError, match="one-bit weights only"):
        export.save_weights(export.load(path).network, tmp_path / "w")


def test_the_size_report_is_a_table_and_plain_data(tmp_path: Path) -> None:
    config = Resnet18(width=0.5, image_size=8)
    model = build(config, num_classes=3)
    convert_(model, Method("fqt"))
    report = export.save_packed(model, tmp_path / "m", classes=CLASSES, preprocessing=_inputs(config))
    assert report.ratio == report.fp32_bytes / report.bytes > 8
    assert sum(part.bytes for part in report.parts) == report.bytes
    assert sum(part.fp32_bytes for part in report.parts) == report.fp32_bytes
    record = json.loads(json.dumps(report.to_json()))
    assert record["parts"][0] == {**record["parts"][0], "name": "binary weights", "ratio": 32.0}
    assert str(report).splitlines()[-1].split()[0] == "file"


def test_overrides_survive_in_the_file(tmp_path: Path) -> None:
    overrides = [{"pattern": "layer1.0.*", "precision": "full"}, {"pattern": "layer2.*", "bits": 8}]
    config = Resnet18(width=0.0625, image_size=8)
    method = Method("fqt", overrides=overrides)
    model = _trained(config, method)
    path = tmp_path / "model.safetensors"
    export.save_packed(model, path, classes=["a", "b", "c"], preprocessing=_inputs(config))
    loaded = export.load(path)
    assert loaded.method == method
    assert type(loaded.network.get_submodule("layer1.0.conv1")) is nn.Conv2d
    assert type(loaded.network.get_submodule("layer2.0.conv1")) is PackedConv2d
