"""Building by name, images of every size, and the binarised arrangement."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fqt_core.config import ArchitectureConfig, Method, Resnet18, Vgg16
from fqt_core.convert import convert_
from fqt_core.errors import ConfigurationError
from fqt_core.models import build
from fqt_core.models.resnet import BasicBlock, Downsample
from fqt_core.models.vgg import Features


def test_build_by_name_and_by_config_are_the_same() -> None:
    options: dict[str, Any] = {"stem": "small", "width": 0.125, "image_size": 16, "channels": 1}
    torch.manual_seed(0)
    named = build("resnet18", num_classes=4, **options)
    torch.manual_seed(0)
    configured = build(Resnet18(**options), num_classes=4)
    assert named.config == configured.config == Resnet18(**options)
    assert named.num_classes == 4
    for one, other in zip(named.parameters(), configured.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (lambda: build("alexnet", num_classes=4), "'alexnet' is unknown; use one of convnet, resnet18, vgg16"),
        (lambda: build("vgg16", num_classes=0), "num_classes"),
        (lambda: build("vgg16", num_classes=4, image_size=7), "image_size: .*greater than or equal to 8"),
        (lambda: build("vgg16", num_classes=4, depth=19), "depth: .*not permitted"),
        (lambda: build(Vgg16(), num_classes=4, width=2), "options width were given beside a config"),
        (lambda: build(ArchitectureConfig(name="mine"), num_classes=4), "'mine' cannot be built"),
    ],
)
def test_bad_requests_are_one_clear_error(request_: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        request_()


@pytest.mark.parametrize("size", [8, 9, 15, 31])
@pytest.mark.parametrize("method", ["fp32", "qat"])
@pytest.mark.parametrize("stem", ["small", "imagenet"])
@pytest.mark.parametrize("name", ["resnet18", "vgg16"])
def test_any_image_size(name: str, stem: str, method: str, size: int) -> None:
    model = build(name, num_classes=3, stem=stem, width=0.0625, image_size=size, channels=1)
    convert_(model, Method(method))
    model.eval()
    assert model(torch.randn(2, 1, size, size)).shape == (2, 3)


@pytest.mark.parametrize("size", [8, 9, 28])
@pytest.mark.parametrize("method", ["fp32", "qat"])
@pytest.mark.parametrize("shortcuts", [False, True])
def test_the_small_network_takes_any_image_size(shortcuts: bool, method: str, size: int) -> None:
    model = build("convnet", num_classes=3, shortcuts=shortcuts, width=0.25, image_size=size, channels=1)
    convert_(model, Method(method))
    model.eval()
    assert model(torch.randn(2, 1, size, size)).shape == (2, 3)


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "convnet"])
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    for method in ("fp32", "qat"):
        model = build(name, num_classes=3, width=0.0625, image_size=16, channels=1)
        convert_(model, Method(method))
        nn.functional.cross_entropy(model(torch.randn(8, 1, 16, 16)), torch.arange(8) % 3).backward()
        silent = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
        assert not silent


def test_binarised_block_has_a_shortcut_around_each_convolution() -> None:
    torch.manual_seed(0)
    block = BasicBlock(8, 16, 2).eval()
    assert block.binarize_layout_() == block.binarize_layout_() == "a shortcut around each convolution"
    assert block.downsample is not None
    block.downsample.binarize_layout_()
    x = torch.randn(2, 8, 6, 6)
    h = block.relu1(block.bn1(block.conv1(x)) + block.downsample(x))
    torch.testing.assert_close(block(x), block.relu2(block.bn2(block.conv2(h)) + h))


def test_binarised_shortcut_averages_before_it_convolves() -> None:
    torch.manual_seed(0)
    shortcut = Downsample(4, 8, 2).eval()
    full = shortcut(torch.randn(1, 4, 5, 5))
    before = {name: value.shape for name, value in shortcut.state_dict().items()}
    for _ in range(2):
        shortcut.binarize_layout_()
    assert {name: value.shape for name, value in shortcut.state_dict().items()} == before
    x = torch.arange(100.0).view(1, 4, 5, 5)
    assert shortcut(x).shape == full.shape == (1, 8, 3, 3)
    assert shortcut.pool is not None
    pooled = shortcut.pool(x)
    assert pooled[0, 0, 0, 0] == x[0, 0, :2, :2].mean()
    assert pooled[0, 0, 2, 2] == x[0, 0, 4, 4]  # an odd side's last window has one pixel, and its mean is that pixel


def test_binarised_features_pool_before_they_normalise() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    norm.running_mean = torch.full((4,), 0.5)
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3, padding=1), norm, nn.ReLU(), nn.MaxPool2d(2)]
    features = Features(*layers).train()
    x = torch.randn(8, 1, 6, 6)
    for _ in range(2):
        features.binarize_layout_()
    assert features.order == [0, 3, 1, 2]
    normalised: list[Tensor] = []
    norm.register_forward_hook(lambda *call: normalised.append(call[-1]))
    features(x)
    assert normalised[0].shape == (8, 4, 3, 3)
    torch.testing.assert_close(normalised[0].mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)


def test_binarised_published_head_normalises_instead_of_relu() -> None:
    model = build("vgg16", num_classes=3, stem="imagenet", width=0.0625, image_size=16)
    convert_(model, Method("qat"))
    kinds = [type(module).__name__ for module in model.classifier]
    assert kinds == ["BinaryLinear", "BatchNorm1d", "Identity", "BinaryLinear", "BatchNorm1d", "Dropout", "Linear"]
