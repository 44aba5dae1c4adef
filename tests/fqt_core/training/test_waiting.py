"""A step on a GPU waits for it once: shown on a device without values, and checked on the CPU."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fqt_core.config import Convnet, Method, Resnet18, Vgg16
from fqt_core.convert import convert_
from fqt_core.errors import NonFiniteGradientError, NonFiniteLossError
from fqt_core.fused import block
from fqt_core.layers.base import BinaryLayer
from fqt_core.models import build
from fqt_core.ops import native, waiting
from fqt_core.training.optimizer import build_optimizer
from fqt_core.training.replica import Replica
from fqt_core.training.step import CROSS_ENTROPY, StepResult, _gradients, training_step
from tests.csrc.cuda.emulated import KERNELS
from tests.fqt_core.fused import nets

from .nets import config, network, sha256

BYTES: list[tuple[str, dict[str, Any]]] = [("statquant", {}), ("adaptive-int8", {})]
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("fqt", {"pruning": "systematic"}),
    ("fqt", {"pruning": "topk", "clip": 3.0}),
    ("fqt", {"pruning": "bernoulli", "clip": 3.0}),
    ("psq", {}),
    *BYTES,
    ("statquant", {"forward": 1}),
    ("qat", {}),
    ("fp32", {}),
]
PIXELS: tuple[str, dict[str, Any]] = ("fqt", {"groups": "pixel"})


class Watch(TorchDispatchMode):
    """Notes all calls, and our operations with the devices of their tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[str, str]] = set()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        self.calls.append(name)
        if found := re.match(r"fqt\.(\w+)\.", name):
            self.seen |= {(found[1], value.device.type) for value in args if isinstance(value, Tensor)}
        return func(*args, **(kwargs or {}))


RESNET, VGG = Resnet18(width=0.25, image_size=32, channels=1), Vgg16(width=0.125, image_size=32, channels=1)


@pytest.mark.parametrize(
    ("network", "method", "options", "fused"),
    [
        *((RESNET, method, options, False) for method, options in [*METHODS, PIXELS]),
        *((config, method, options, True) for config in (RESNET, VGG) for method, options in METHODS[:3]),
    ],
)
def test_a_step_looks_at_no_value_and_runs_what_has_kernels(
    network: Resnet18 | Vgg16, method: str, options: dict[str, Any], fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device stands for a GPU: it has no values, so that a look at one is an error."""
    if fused:
        monkeypatch.setattr(block, "device_obstacle", lambda _: "")
    model = build(network, num_classes=3)
    convert_(model, Method(method, **options))
    model = model.to("meta")
    images, labels = torch.empty(4, 1, 32, 32, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta")
    with Watch() as watch:
        batch = images, labels
        optimizer = build_optimizer(model, config())
        losses, hits = _gradients(
            model,
            optimizer,
            batch,
            seed=1,
            step=2,
            classes=3,
            objective=CROSS_ENTROPY,
            parts=2,
            replica=Replica(),
            forward=model,
            everybodys=len(labels),
        )
        before = len(watch.calls)
        optimizer.step()
    assert [value.device.type for value in (*losses, *hits)] == ["meta"] * 4
    assert all(parameter.grad is not None for parameter in model.parameters())
    kernels = {operation for operation, _ in KERNELS}
    assert {operation for operation, _ in watch.seen} <= kernels
    assert fused == ("hwnc_binary_conv2d" in {operation for operation, _ in watch.seen})
    assert {device for _, device in watch.seen} <= {"meta"}
    assert bool(watch.seen) == (method != "fp32")
    if Method(method, **options).binarises:  # our Adam takes the step of all parameters together, not one by one
        assert "aten._foreach_lerp_.Scalar" in watch.calls[before:]
        assert "aten.lerp_.Scalar" not in watch.calls[before:]


def _on_gpu(model: nn.Module) -> nn.Module:
    """Others of the same shape in place of fake parameters and buffers: they have no values that could be moved."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            module.register_parameter(name, nn.Parameter(_there(parameter), parameter.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, _there(buffer))
    return model


def _there(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")


def _step(model: nn.Module, images: Tensor) -> StepResult:
    made = build_optimizer(model, config())
    labels = torch.arange(len(images)) % 3
    return training_step(model, made, (images, labels), seed=0, step=4, classes=3, layers=(), parts=2)


def _images() -> Tensor:
    return torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("method", "options"), [*METHODS, PIXELS])
def test_a_step_that_looks_at_nothing_is_the_same(
    method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, blind = network(method, **options), network(method, **options)
    expected = _step(looks, _images())
    monkeypatch.setattr(waiting, "at_once", lambda _: False)
    assert _step(blind, _images()) == expected
    assert sha256(blind) == sha256(looks)


@pytest.mark.parametrize("fused", [False, True])
def test_figures_count_what_was_kept(fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was there: without a look, Bernoulli selection returns all groups."""
    seen = []
    for at_once in (True, False):
        monkeypatch.setattr(waiting, "at_once", lambda _, at_once=at_once: at_once)
        model = nets.network("vgg16", Method("fqt", pruning="bernoulli"), size=16, width=0.0625)
        layers = [layer for layer in model.modules() if isinstance(layer, BinaryLayer)]
        for layer in layers:
            layer.collect_statistics = True
        with contextlib.nullcontext() if fused else nets.layer_by_layer():
            nets.step(model, nets.images(12, 16))
        seen.append([layer.statistics for layer in layers])
    assert seen[0] == seen[1]
    assert any(0 < figures["kept_samples"] < 12 for figures in seen[0])


@pytest.mark.parametrize(("method", "options"), [*METHODS[:3], *BYTES, PIXELS])
def test_what_is_not_finite_is_named_all_the_same(
    method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "at_once", lambda _: False)
    model = network(method, **options)
    weights = {name: value.clone() for name, value in model.named_parameters()}
    hook = model[8].register_forward_hook(lambda _, __, output: output * torch.inf)  # type: ignore[index]
    with pytest.raises(NonFiniteLossError, match="layer '8'"):
        _step(model, _images())
    hook.remove()
    for value in (torch.nan, torch.inf):
        hook = model[5].register_full_backward_pre_hook(lambda _, given, value=value: (_spoil(given[0], value),))  # type: ignore[index, misc]
        with pytest.raises(NonFiniteGradientError, match="layer '5'") as caught:
            _step(model, _images())
        hook.remove()
        assert caught.value.step == 4
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    kept = [value for name, value in model.named_buffers() if name.endswith(("clip", "activation_scale"))]
    assert all(bool(value.isfinite().all()) for value in kept)


def _chain_step(
    spoiled: float | None, scale: float, *, blind: bool, pruning: str = "systematic"
) -> tuple[StepResult, nn.Module]:
    """A step of a network that is one chain, whose head's weights are ``scale`` times as large."""
    model = build(Convnet(width=0.25, image_size=12, channels=1), num_classes=3)
    convert_(model, Method("fqt", clip=2.0, pruning=pruning), seed=5)
    head: nn.Linear = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.mul_(scale)
    if spoiled is not None:
        head.register_full_backward_hook(lambda _, gradients, __: (_spoil(gradients[0], spoiled),))
    images = torch.randn(12, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    with pytest.MonkeyPatch.context() as patch:
        if blind:
            patch.setattr(waiting, "at_once", lambda _: False)
        return _step(model, images), model


@pytest.mark.parametrize("scale", [1.0, 0.0])  # without a gradient, too
@pytest.mark.parametrize("pruning", ["systematic", "bernoulli"])
def test_a_chain_that_looks_at_nothing_takes_the_same_step(scale: float, pruning: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected, looks = _chain_step(None, scale, blind=False, pruning=pruning)
        torch.manual_seed(0)
        found, blind = _chain_step(None, scale, blind=True, pruning=pruning)
    assert found == expected
    assert sha256(blind) == sha256(looks)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("blind", [True, False])
def test_what_is_not_finite_in_a_chain_is_named(value: float, blind: bool) -> None:
    """The last layer of the chain, or the normalisation behind it."""
    with pytest.raises(NonFiniteGradientError, match=r"layer 'blocks\.4") as caught:
        _chain_step(value, 1.0, blind=blind)
    assert caught.value.step == 4


def _spoil(gradient: Tensor, value: float) -> Tensor:
    spoiled = gradient.clone(memory_format=torch.contiguous_format)
    spoiled.view(-1)[7] = value
    return spoiled


def test_latents_on_a_gpu_take_their_step_in_one_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "CUDA_KERNELS", frozenset({"adam_binary_"}))
    watch = Watch()
    with FakeTensorMode():
        model = _on_gpu(network("fqt"))
        optimizer = build_optimizer(model, config())
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        latents = [layer for layers in optimizer._layers.values() for layer in layers]  # type: ignore[attr-defined]
        with watch:
            for parameter in (layer.weight for layer in latents):
                optimizer._step_binary(parameter, [], optimizer.param_groups[0])  # type: ignore[attr-defined]
    assert watch.seen == {("adam_binary_", "cuda")}
