"""A step on a GPU waits for it once: shown on a device without values, and checked on the CPU."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from fqt_core.config import (
    AugmentConfig,
    Convnet,
    DistillationConfig,
    EmaConfig,
    Method,
    Resnet18,
    TrainConfig,
    Vgg16,
)
from fqt_core.convert import convert_
from fqt_core.data import ImageDataset
from fqt_core.errors import NonFiniteGradientError, NonFiniteLossError
from fqt_core.events import Started, StepDone
from fqt_core.fused import block
from fqt_core.layers import SteppedLayer
from fqt_core.layers.base import BinaryLayer
from fqt_core.models import build
from fqt_core.ops import native, waiting
from fqt_core.training import Trainer, statistics, trainer
from fqt_core.training import teacher as learned
from fqt_core.training.optimizer import build_optimizer
from fqt_core.training.step import StepResult, training_step
from tests.csrc.cuda.emulated import KERNELS
from tests.fqt_core.fused import nets

from .nets import CLASSES, config, network, sha256
from .waits import DEVICE, WaitedError, Watch, every_method

BYTES: list[tuple[str, dict[str, Any]]] = [("statquant", {}), ("adaptive-int8", {}), ("unified-int8", {})]
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
PIXEL_WAYS: list[dict[str, Any]] = [{}, {"clip": 2.0}, {"rounding": "dither"}, {"rounding": "dither", "clip": 2.0}]


RESNET, VGG = Resnet18(width=0.25, image_size=32, channels=1), Vgg16(width=0.125, image_size=32, channels=1)


def _steps(
    model: nn.Module,
    training: TrainConfig,
    *,
    size: int = 8,
    teacher: nn.Module | None = None,
    count: int = 2,
) -> Watch:
    """Steps of a run on the meta device, each of which may fetch numbers once."""
    fetched: list[int] = []
    watch = Watch()

    def fetch(values: Sequence[Tensor]) -> list[float]:
        assert all(value.device.type == DEVICE and value.dim() == 0 for value in values)
        fetched.append(len(values))
        return [0.0] * len(values)

    def brought(tensor: Tensor, device: torch.device | str) -> Tensor:
        with watch.moving():
            return tensor.to(device)

    pixels = np.arange(9 * size**2, dtype=np.uint8).reshape(9, 1, size, size)
    data = ImageDataset(pixels, np.arange(9) % 3, CLASSES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "fetch", fetch)
        patch.setattr(trainer, "moved", brought)
        # What is made once before the first step, or of figures that are reported now and then.
        patch.setattr(learned, "_digest", lambda *_: "")
        patch.setattr(statistics, "_packed_signs", lambda _: None)
        patch.setattr(SteppedLayer, "_is_seen", lambda _: True)  # after the first batch
        run = iter(Trainer(model, data, training, device=DEVICE, teacher=teacher))
        assert isinstance(next(run), Started)
        with watch:
            steps = [event for event in itertools.islice(run, count) if isinstance(event, StepDone)]
    assert len(steps) == count == len(fetched)
    assert all(parameter.device.type == DEVICE for parameter in model.parameters())
    return watch


def _plan(**options: Any) -> TrainConfig:
    return config(**{"batch_size": 4, "telemetry_every_steps": 0, "validation_fraction": 0, **options})


@pytest.mark.parametrize(("method", "options"), every_method())
def test_a_step_of_any_method_waits_once(method: str, options: dict[str, Any]) -> None:
    watch = _steps(network(method, **options), _plan())
    assert {operation for operation, _ in watch.seen} <= {operation for operation, _ in KERNELS}
    assert {device for _, device in watch.seen} <= {DEVICE}
    assert bool(watch.seen) == (method != "fp32")


NOT_IN_A_STEP = {
    *("epochs", "batch_size", "early_stopping_patience", "validation_fraction", "seed"),
    *("checkpoint_every_steps", "statistics_every_steps", "telemetry_every_steps"),
}
TRAINING: dict[str, list[Any]] = {
    "accumulate": [2],
    "optimizer": ["adam", "sgd", "muon"],
    "learning_rate": [0.1],
    "binary_learning_rate": [0.1],
    "head_learning_rate": [0.1],
    "momentum": [0.0],
    "weight_decay": [0.0],
    "schedule": ["cosine", "linear", "constant"],
    "warmup_steps": [1],
    "warmup_epochs": [0.5],
    "label_smoothing": [0.1],
    "ema": [EmaConfig()],
    "distillation": [DistillationConfig()],
    "augment": [AugmentConfig(pad_crop=2, horizontal_flip=True), AugmentConfig(normalize=False)],
}


def test_every_option_of_training_is_tried() -> None:
    assert set(TrainConfig.model_fields) == NOT_IN_A_STEP | set(TRAINING)


@pytest.mark.parametrize(("option", "value"), [(name, value) for name, values in TRAINING.items() for value in values])
def test_a_step_of_any_training_waits_once(option: str, value: Any) -> None:
    teacher = network(seed=3) if option == "distillation" else None
    _steps(network("fqt"), _plan(**{option: value}), teacher=teacher)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("method", ["unified-int8", "lsq"])
def test_own_learning_rates_do_not_wait(method: str, optimizer: str) -> None:
    _steps(network(method), _plan(optimizer=optimizer, accumulate=2))


@pytest.mark.parametrize(("method", "options"), METHODS[:3])
@pytest.mark.parametrize("chosen", [RESNET, VGG])
def test_a_step_of_chains_waits_once(
    chosen: Resnet18 | Vgg16, method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "device_obstacle", lambda _: "")
    model = build(chosen, num_classes=3)
    convert_(model, Method(method, **options))
    watch = _steps(model, _plan(accumulate=2), size=32, count=1)
    operations = {operation for operation, _ in watch.seen}
    assert "hwnc_binary_conv2d" in operations
    assert operations <= {operation for operation, _ in KERNELS}
    # Our Adam takes the step of all parameters together, not one by one.
    assert "aten._foreach_lerp_.Scalar" in watch.calls
    assert "aten.lerp_.Scalar" not in watch.calls


WAITS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "number": lambda x: float(x.sum()),
    "truth": lambda x: bool((x > 0).any()),
    "list": lambda x: x.flatten().tolist(),
    "print": lambda x: f"{x.sum():.3f}",
    "mask": lambda x: x[x > 0],
    "nonzero": lambda x: x.nonzero(),
    "unique": torch.unique,
    "bincount": lambda x: torch.bincount(x.flatten().to(torch.int64)),
    "repeats": lambda x: torch.arange(len(x), device=x.device).repeat_interleave(x[:, 0, 0, 0].to(torch.int64)),
    "place": lambda x: x[x.argmax()],
    "equal": lambda x: torch.equal(x, x),
    "to the processor": lambda x: x.cpu(),
    "array": lambda x: x.detach().numpy(),
    "from the processor": lambda x: x + torch.ones(x.shape).to(x.device),
    "made of numbers": lambda x: x + torch.tensor([1.0], device=x.device),
    "copied into": lambda x: torch.empty_like(x).copy_(torch.ones(x.shape)),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("backward", [False, True])
def test_a_wait_is_noticed(wait: str, *, backward: bool) -> None:
    """So that the tests above fail when somebody adds one."""
    model, look = network("fqt"), WAITS[wait]
    if backward:
        model[5].register_full_backward_hook(lambda _, given, __: (look(given[0]), None)[1])  # type: ignore[index]
    else:
        model[5].register_forward_hook(lambda _, __, output: (look(output), None)[1])  # type: ignore[index]
    with pytest.raises((RuntimeError, NotImplementedError, TypeError, WaitedError)):
        _steps(model, _plan())


def test_learned_steps_are_looked_at_once() -> None:
    model = network("lsq")
    model(_images())
    with Watch() as watch:
        model(_images())
    assert not [call for call in watch.calls if call.startswith("aten._local_scalar_dense")]


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


@pytest.mark.parametrize(
    ("method", "options"),
    [*METHODS, PIXELS, *(("fqt", {"groups": "pixel", "pruning": "bernoulli", **way}) for way in PIXEL_WAYS)],
)
def test_a_step_that_looks_at_nothing_is_the_same(
    method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, blind = network(method, **options), network(method, **options)
    expected = _step(looks, _images())
    monkeypatch.setattr(waiting, "at_once", lambda _: False)
    assert _step(blind, _images()) == expected
    assert sha256(blind) == sha256(looks)


@pytest.mark.parametrize(
    ("groups", "fused", "figure"),
    [
        ("sample-channel", False, "kept_samples"),
        ("sample-channel", True, "kept_samples"),
        ("pixel", False, "kept_weight_rows"),
    ],
)
def test_figures_count_what_was_kept(groups: str, fused: bool, figure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was there: without a look, Bernoulli selection returns all groups."""
    seen = []
    for at_once in (True, False):
        monkeypatch.setattr(waiting, "at_once", lambda _, at_once=at_once: at_once)
        model = nets.network("vgg16", Method("fqt", groups=groups, pruning="bernoulli"), size=16, width=0.0625)
        layers = [layer for layer in model.modules() if isinstance(layer, BinaryLayer)]
        for layer in layers:
            layer.collect_statistics = True
        with contextlib.nullcontext() if fused else nets.layer_by_layer():
            nets.step(model, nets.images(12, 16))
        seen.append([layer.statistics for layer in layers])
    assert seen[0] == seen[1]
    assert any(0 < figures[figure] < 12 for figures in seen[0])


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
        for group in optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) in optimizer._layers]  # type: ignore[attr-defined]
        with watch:
            optimizer.step()
    assert watch.seen == {("adam_binary_", "cuda")}
