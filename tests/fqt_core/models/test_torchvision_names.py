"""The networks take torchvision's weights: the same names and shapes, tensor by tensor. Written from its source."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fqt_core.models import build, load_weights

Shapes = dict[str, tuple[int, ...]]


def _batch_norm(name: str, channels: int) -> Shapes:
    fields = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{field}": (channels,) for field in fields}, f"{name}.num_batches_tracked": ()}


def _resnet18() -> Shapes:
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **_batch_norm("bn1", 64)}
    channels = 64
    for layer, outputs in ((1, 64), (2, 128), (3, 256), (4, 512)):
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            inputs = channels if block == 0 else outputs
            shapes |= {f"{name}.conv1.weight": (outputs, inputs, 3, 3), **_batch_norm(f"{name}.bn1", outputs)}
            shapes |= {f"{name}.conv2.weight": (outputs, outputs, 3, 3), **_batch_norm(f"{name}.bn2", outputs)}
        if layer > 1:
            name = f"layer{layer}.0.downsample"
            shapes |= {f"{name}.0.weight": (outputs, channels, 1, 1), **_batch_norm(f"{name}.1", outputs)}
        channels = outputs
    return {**shapes, "fc.weight": (1000, 512), "fc.bias": (1000,)}


def _vgg16_bn() -> Shapes:
    shapes: Shapes = {}
    channels = 3
    convolutions = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
    widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    for index, outputs in zip(convolutions, widths, strict=True):
        shapes |= {f"features.{index}.weight": (outputs, channels, 3, 3), f"features.{index}.bias": (outputs,)}
        shapes |= _batch_norm(f"features.{index + 1}", outputs)
        channels = outputs
    for index, outputs, inputs in ((0, 4096, 512 * 7 * 7), (3, 4096, 4096), (6, 1000, 4096)):
        shapes |= {f"classifier.{index}.weight": (outputs, inputs), f"classifier.{index}.bias": (outputs,)}
    return shapes


TORCHVISION = {"resnet18": _resnet18(), "vgg16": _vgg16_bn()}


@pytest.mark.parametrize("name", ["resnet18", "vgg16"])
def test_names_and_shapes_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        model = build(name, num_classes=1000, stem="imagenet", image_size=224)
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == TORCHVISION[name]


def test_the_lists_have_torchvisions_length() -> None:
    assert len(TORCHVISION["resnet18"]) == 122
    assert len(TORCHVISION["vgg16"]) == 13 * 2 + 13 * 5 + 6


def _relu(x: Tensor) -> Tensor:
    return nn.functional.relu(x)


def test_resnet_computes_what_the_published_network_does() -> None:
    """Against the published equations, written out with the state dict alone."""
    torch.manual_seed(0)
    model = build("resnet18", num_classes=4, stem="imagenet", width=0.125, image_size=40).eval()
    state = {name: torch.rand_like(value.float()) + 0.1 for name, value in model.state_dict().items()}
    load_weights(model, state)
    x = images = torch.randn(2, 3, 40, 40)

    def conv(x: Tensor, name: str, stride: int) -> Tensor:
        weight = state[f"{name}.weight"]
        return nn.functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def norm(x: Tensor, name: str) -> Tensor:
        parts = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return nn.functional.batch_norm(x, *parts)

    x = nn.functional.max_pool2d(_relu(norm(conv(x, "conv1", 2), "bn1")), 3, 2, 1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            shortcut = norm(conv(x, f"{name}.downsample.0", 2), f"{name}.downsample.1") if stride == 2 else x
            h = _relu(norm(conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
            x = _relu(norm(conv(h, f"{name}.conv2", 1), f"{name}.bn2") + shortcut)
    expected = nn.functional.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])
    torch.testing.assert_close(model(images), expected)


def test_torchvision_weights_of_another_stem_are_taken_as_far_as_they_fit() -> None:
    state = {name: torch.zeros(shape) for name, shape in TORCHVISION["resnet18"].items()}
    model = build("resnet18", num_classes=1000, image_size=32)
    report = load_weights(model, state)
    assert report.skipped == {"conv1.weight": "the network's has shape 64x3x3x3"}
    assert report.names("fresh") == ["conv1.weight"]
    assert len(report.taken) == len([name for name in state if not name.endswith("num_batches_tracked")]) - 1
