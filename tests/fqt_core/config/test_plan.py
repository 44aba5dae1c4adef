"""The plan agrees with published figures, with the networks as built, and with what autograd really keeps."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fqt_core.config import ArchitectureConfig, Convnet, Method, Resnet18, Vgg16
from fqt_core.config.plan import LayerShape, layer_plan, network_plan, scaled, unmatched
from fqt_core.convert import convert_
from fqt_core.errors import ConfigurationError
from fqt_core.models import build

IMAGENET: dict[str, Any] = {"stem": "imagenet", "image_size": 224}
SMALL: list[ArchitectureConfig] = [
    Resnet18(width=0.125, image_size=16, channels=1),
    Resnet18(width=0.19, image_size=13),
    Resnet18(width=0.125, image_size=8, stem="imagenet"),
    Resnet18(width=0.125, image_size=45, stem="imagenet", channels=1),
    Vgg16(width=0.125, image_size=16, channels=1),
    Vgg16(width=0.19, image_size=13),
    Vgg16(width=0.0625, image_size=8),
    Vgg16(width=0.0625, image_size=40, stem="imagenet"),
    Convnet(width=0.25, image_size=16, channels=1),
    Convnet(width=0.25, image_size=13, shortcuts=True),
    Convnet(widths=[16, 8, 40, 24, 8, 32], image_size=16, channels=1),
    Vgg16(widths=[8, 16, 8, 24, 16, 8, 24, 8, 40, 8, 16, 8, 24], image_size=32),
]


def _label(config: ArchitectureConfig) -> str:
    return "-".join(str(value) for value in config.model_dump().values())


def _network(config: ArchitectureConfig, binarises: bool) -> nn.Module:
    model = build(config, num_classes=3)
    if binarises:
        convert_(model, Method("qat"))
    return model


def test_published_sizes() -> None:
    resnet = layer_plan(Resnet18(**IMAGENET), 1000, binarises=False)
    assert resnet.parameters == 11_689_512
    assert resnet.macs == 1_814_073_344
    assert len(resnet.weight_layers) == 21
    assert resnet.binary_parameters == 0
    vgg = layer_plan(Vgg16(**IMAGENET), 1000, binarises=False)
    assert vgg.parameters == 138_365_992
    assert vgg.macs == 15_470_264_320


@pytest.mark.parametrize(("width", "expected"), [(1, 64), (0.25, 16), (0.19, 16), (0.05, 8), (4, 256), (0.3125, 24)])
def test_channels_are_multiples_of_eight(width: float, expected: int) -> None:
    assert scaled(64, width) == expected


@pytest.mark.parametrize("binarises", [False, True], ids=["full", "binary"])
@pytest.mark.parametrize("config", SMALL, ids=_label)
def test_the_network_is_what_was_planned(config: ArchitectureConfig, binarises: bool) -> None:
    model = _network(config, binarises).eval()
    plan = {layer.name: layer for layer in layer_plan(config, 3, binarises=binarises)}
    sizes: dict[str, tuple[int, int]] = {}
    for name, module in model.named_modules():
        if name in plan:
            module.register_forward_hook(lambda _, args, out, name=name: sizes.update({name: _sides(args[0], out)}))
    model(torch.zeros(1, config.channels, config.image_size, config.image_size))
    assert sizes == {name: (layer.input_size, layer.output_size) for name, layer in plan.items()}
    for name, layer in plan.items():
        _compare(layer, model.get_submodule(name))
    with_parameters = {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    assert with_parameters == {name for name, layer in plan.items() if layer.parameters}


def _sides(x: Tensor, y: Tensor) -> tuple[int, int]:
    return (x.shape[-1] if x.dim() == 4 else 1, y.shape[-1] if y.dim() == 4 else 1)


def _compare(layer: LayerShape, module: nn.Module) -> None:
    assert layer.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert layer.binary == hasattr(module, "packed_weight")
    if isinstance(module, nn.Conv2d):
        assert (layer.in_channels, layer.out_channels) == (module.in_channels, module.out_channels)
        assert (layer.kernel_size, layer.stride) == (module.kernel_size[0], module.stride[0])
        assert layer.padding == module.padding[0]
    elif isinstance(module, nn.Linear):
        assert (layer.in_channels, layer.out_channels) == (module.in_features, module.out_features)


@pytest.mark.parametrize("binarises", [False, True], ids=["full", "binary"])
@pytest.mark.parametrize("config", SMALL, ids=_label)
def test_saved_bytes_are_what_autograd_keeps(config: ArchitectureConfig, binarises: bool) -> None:
    """Counted over storages that grow with the batch, so weights and per-channel statistics do not count."""
    model = _network(config, binarises)

    def kept(images: int) -> int:
        storages: dict[int, Any] = {}

        def pack(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = model(torch.zeros(images, config.channels, config.image_size, config.image_size))
        total = sum(storage.nbytes() for storage in storages.values())
        del logits
        return total

    assert kept(5) - kept(3) == 2 * layer_plan(config, 3, binarises=binarises).activation_bytes


def test_the_plan_of_a_method() -> None:
    config = Resnet18(width=0.25, image_size=16)
    full = network_plan(config, 10, Method("fp32"))
    assert full.model_bytes == full.fp32_bytes
    assert full.activation_bytes == full.fp32_activation_bytes
    assert full.binary_share == 0
    fqt = network_plan(config, 10, Method("fqt"))
    assert fqt.fp32_bytes == full.fp32_bytes
    assert fqt.activation_bytes < full.activation_bytes
    assert 0.9 < fqt.binary_share < 1
    assert 0 < fqt.binary_macs < fqt.macs
    unscaled = network_plan(config, 10, Method("fqt", weight_scale="none"))
    learned = network_plan(config, 10, Method("fqt", weight_scale="learned"))
    channels = sum(layer.out_channels for layer in fqt.layers if layer.binary)
    assert fqt.model_bytes - unscaled.model_bytes == 4 * channels
    assert learned.parameters - fqt.parameters == channels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": [8] * 5}, "at least 6 items"),
        ({"widths": [8, 8, 8, 8, 8, 12]}, "multiple of 8"),
        ({"widths": [8] * 6, "width": 0.5}, "leave out one of both"),
        ({"widths": [8] * 6, "shortcuts": True}, "leave out shortcuts, or widths"),
    ],
)
def test_widths_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build("convnet", num_classes=3, **options)


def test_first_and_last_layer_and_shortcuts_stay_in_full_precision() -> None:
    layers = layer_plan(Resnet18(**IMAGENET), 10).weight_layers
    kept = [layer.name for layer in layers if not layer.binary]
    assert kept == ["conv1", *(f"layer{stage}.0.downsample.0" for stage in (2, 3, 4)), "fc"]


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="num_classes"):
        layer_plan(Resnet18(), 0)
    with pytest.raises(ConfigurationError, match="'alexnet' is unknown; use one of convnet, resnet18, vgg16"):
        layer_plan(ArchitectureConfig(name="alexnet"), 10)


def test_planning_needs_no_torch() -> None:
    code = "import fqt_core.config.plan, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_gradient_bits_and_work_follow_the_method() -> None:
    config = Resnet18(width=0.125, image_size=16)

    def figures(method: Any) -> tuple[float, int]:
        plan = network_plan(config, 3, method)
        return plan.gradient_bits, plan.step_macs

    layers = layer_plan(config, 3)
    first = layers.weight_layers[0].macs
    assert figures(Method("fp32")) == (32, 3 * layer_plan(config, 3, binarises=False).macs - first)
    dense = 3 * layers.macs - first
    assert figures(Method("qat")) == (32, dense)
    assert figures(Method("psq", bits=8)) == (8, dense)
    assert figures(Method("fqt", preset="fast")) == (1, dense - layers.binary_macs * 2 * 3 // 4)
    everything = Method("fqt", overrides=[{"pattern": "*", "bits": 8, "pruning": "none"}])
    assert figures(everything) == (8, dense)
    bits, _ = figures(Method("fqt", overrides=[{"pattern": "layer1.*", "precision": "qat"}]))
    binary = [layer for layer in layers if layer.binary]
    share = sum(layer.gradient_elements for layer in binary if layer.name.startswith("layer1."))
    share /= sum(layer.gradient_elements for layer in binary)
    assert bits == pytest.approx(1 + 31 * share)


def test_a_layer_in_full_precision_is_so_in_the_plan() -> None:
    method = Method("fqt", overrides=[{"pattern": "layer2.*", "precision": "full"}])
    config = Resnet18(width=0.125, image_size=16)
    model = build(config, num_classes=3)
    report = convert_(model, method)
    plan = network_plan(config, 3, method)
    assert plan.binary_parameters == report.binary_parameters
    assert [layer.name for layer in plan.layers if layer.binary] == report.names("converted")
    assert unmatched(config, method)[0] == []
    assert unmatched(config, Method("fqt", overrides=[{"pattern": "features.*", "bits": 2}]))[0] == [0]
