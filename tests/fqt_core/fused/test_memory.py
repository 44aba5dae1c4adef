"""What a chain keeps for its backward pass, counted in bytes of tensors; and the ways on which it keeps little."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional

import fqt_core as fqt
from fqt_core.fused import Chain, chain
from fqt_core.fused import stem as stem_module
from fqt_core.fused.block import Stem, stem_obstacle
from fqt_core.fused.entry import EntryRecord
from fqt_core.fused.linear import LinearMap
from fqt_core.fused.rows import RowGradient
from fqt_core.fused.stem import apply_stem, enter_stem, leave_stem
from fqt_core.fused.store import GradientStore
from fqt_core.layers import DeferredGradient
from fqt_core.ops.patches import image_patches
from tests.fqt_core.fused.nets import images, network, step

FQT = fqt.Method("fqt")
PSQ8 = fqt.Method("psq", bits=8, weight_groups="channel")


def _tensors(record: Any) -> Iterator[Tensor]:
    """The tensors of records, but for those of modules and of the constants of a channel."""
    if isinstance(record, Tensor):
        yield record
    elif isinstance(record, list | tuple):
        for entry in record:
            yield from _tensors(entry)
    elif is_dataclass(record) and not isinstance(record, Chain):
        for field in fields(record):
            if field.name not in {"block", "weight_words", "norm", "map", "cross_moments"}:
                yield from _tensors(getattr(record, field.name))


@pytest.mark.parametrize(
    ("name", "method", "options", "most"),
    # Bytes per image, less than a fifth of what FP32's convolutions and normalisations take in and have to keep.
    [
        ("vgg16", FQT, {"size": 32}, 325_000),
        ("resnet18", FQT, {"size": 32}, 725_000),
        ("resnet18", PSQ8, {"size": 32}, 530_000),
        ("resnet18", FQT, {"size": 96, "stem": "imagenet"}, 635_000),
    ],
    ids=["vgg16", "resnet18", "resnet18-dense", "resnet18-imagenet"],
)
def test_what_is_kept_for_backward_is_small(
    name: str, method: Any, options: dict[str, Any], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    run = chain._forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        found = run(*args, **kwargs)
        kept.extend(found[1:])
        return found

    monkeypatch.setattr(chain, "_forward", watched)
    x = images(2, options["size"])
    network(name, method, width=1.0, **options)(x)
    storages = [tensor.untyped_storage() for tensor in _tensors(kept)]
    own = {storage.data_ptr(): storage.nbytes() for storage in storages}
    own.pop(x.untyped_storage().data_ptr(), None)
    assert sum(own.values()) / len(x) <= most
    plain = fqt.models.build(name, num_classes=5, image_size=options["size"], stem=options.get("stem", "small"))
    inputs: list[int] = []
    for module in plain.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, given: inputs.append(given[0].nbytes))
    plain(x)
    assert sum(own.values()) < sum(inputs) / 5


@pytest.mark.parametrize("again", [False, True])
def test_a_pooled_stem_goes_back_when_what_the_normalisation_used_is_gone(
    again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its convolution takes much room; what a second pass needs stays until then."""
    used: list[StorageWeakRef] = []
    gone: list[list[bool]] = []
    leave, go_back = stem_module.leave, stem_module.pooled_gradients

    def watched_leave(record: EntryRecord, norm: nn.BatchNorm2d, g: RowGradient, *args: Any, **options: Any) -> Tensor:
        used[:] = [StorageWeakRef(tensor.untyped_storage()) for tensor in (record.x, g.rows)]
        return leave(record, norm, g, *args, **options)

    def watched_gradients(*args: Any) -> tuple[Tensor, Tensor]:
        gone.append([reference.expired() for reference in used])
        return go_back(*args)

    monkeypatch.setattr(stem_module, "leave", watched_leave)
    monkeypatch.setattr(stem_module, "pooled_gradients", watched_gradients)
    loss = network("resnet18", FQT, stem="imagenet", size=64)(images(2, 64)).square().sum()
    if again:
        loss.backward(retain_graph=True)
    loss.backward()
    assert gone == [[False, True]] * again + [[True, True]]


@pytest.mark.parametrize(("method", "at_once"), [(FQT, 0), (PSQ8, 5)], ids=["fqt", "psq8"])
def test_weight_gradients_are_deferred_or_in_one_allocation(method: fqt.config.MethodConfig, at_once: int) -> None:
    """At once, of dense gradients, where six images have more than 18 values for each of the input channels."""
    _, expected = step(network("resnet18", method), images())
    model = network("resnet18", method)
    layers = [block.conv for block in model.chain().blocks]  # type: ignore[operator]
    for layer in layers:
        layer.wants_compact_gradient = True
    step(model, images())
    gradients = [layer.compact_gradient for layer in layers]
    for layer, gradient in zip(layers, gradients, strict=True):
        assert torch.equal(gradient.dense(layer.weight), expected[f"{layer.layer_name}.weight"])
        assert gradient.sum().isfinite()
    deferred = [isinstance(gradient, DeferredGradient) for gradient in gradients]
    assert deferred == [False] * at_once + [True] * (16 - at_once)
    stored = {gradient.rows.untyped_storage().data_ptr() for gradient in gradients[:at_once]}
    assert len(stored) == min(1, at_once)
    assert all(gradient.rows.abs().max() <= gradient.sum() for gradient in gradients[at_once:])
    store = GradientStore(layers, torch.device("cpu"))
    for layer in layers:
        taken = store.take(layer.weight.shape)
        assert taken.data_ptr() % 64 == store._room.data_ptr() % 64


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_input_gradients_are_the_same_in_slices_of_samples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected = step(network(name, PSQ8), images())
    monkeypatch.setattr("fqt_core.fused.slices.SLICE_BYTES", 4 * 2 * 18 * 18 * 16)  # two images at most
    _, found = step(network(name, PSQ8), images())
    for parameter, gradient in found.items():
        # Only what is in full precision before the chain sums up over images.
        if parameter.startswith(("conv1.", "features.0.")):
            torch.testing.assert_close(gradient, expected[parameter], rtol=1e-4, atol=1e-5)
        elif not parameter.startswith(("bn1.", "features.1.")):
            assert torch.equal(gradient, expected[parameter]), parameter


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, (1, 2)])
@pytest.mark.parametrize("dilation", [1, (2, 1)])
def test_patches_are_what_a_convolution_takes(stride: int, padding: Any, dilation: Any) -> None:
    conv = nn.Conv2d(3, 7, (3, 2), stride, padding, dilation)
    x = torch.randn(4, 3, 9, 11) + 5
    origin = x.mean((0, 2, 3))
    assert not isinstance(conv.padding, str)
    patches = image_patches(x, origin, conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    assert (patches[:, -1] == 1).all()
    weight = conv.weight.flatten(1)
    offset = weight @ origin.view(-1, 1, 1).expand(-1, *conv.kernel_size).flatten()
    assert conv.bias is not None
    found = weight @ patches[:, :-1] + (conv.bias + offset).unsqueeze(1)
    torch.testing.assert_close(found.view_as(conv(x)), conv(x), rtol=1e-4, atol=1e-5)


def _stems() -> list[Stem]:
    torch.manual_seed(4)
    return [
        Stem(nn.Conv2d(3, 20, 3, padding=1)),
        Stem(nn.Conv2d(2, 16, (3, 2), stride=2, padding=(0, 1), bias=False)),
        Stem(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1)),
        Stem(nn.Conv2d(3, 8, 3), nn.MaxPool2d((2, 3), ceil_mode=True)),
    ]


@pytest.mark.parametrize(("number", "native"), [(0, True), (0, False), (1, True), (1, False), (2, False), (3, False)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_a_stem_is_convolution_pool_and_normalisation(
    number: int, native: bool, training: bool, mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against autograd in float64, for the gradient of some samples only; as on a GPU in slices of two samples."""
    monkeypatch.setattr("fqt_core.ops.stem.serves", lambda _: native)
    monkeypatch.setattr("fqt_core.fused.slices.SLICE_BYTES", 4 * 2 * 8 * 13 * 12 // 4)
    stem = _stems()[number]
    norm = nn.BatchNorm2d(stem.conv.out_channels)
    nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(norm.bias, 0, 0.3)
    norm.train(training)
    x = torch.randn(5, stem.conv.in_channels, 13, 12) + mean
    assert stem_obstacle(stem, x) == ""
    modules = [*stem.modules, norm]
    exact = nn.Sequential(*(module for module in modules)).double()
    x64, index = x.double(), torch.tensor([0, 1, 4])
    h = exact(x64)
    g = torch.zeros_like(h)
    g[index] = torch.randn(3, *h.shape[1:]).double()
    parameters = list(exact.parameters())
    wanted = torch.autograd.grad(h, parameters, g)
    running = norm.running_mean.clone()  # type: ignore[union-attr]
    if training:
        norm.reset_running_stats()
    exact.float()
    with torch.no_grad():
        activation, record = enter_stem(stem, norm, x, keep=True)
        assert activation.floats is not None
        torch.testing.assert_close(activation.floats.permute(2, 3, 0, 1), h.float(), rtol=1e-4, atol=1e-4)
        applied = apply_stem(stem, norm, x, keep=True).floats if not training else activation.floats
        torch.testing.assert_close(applied, activation.floats, rtol=1e-4, atol=1e-4)
        found: dict[Tensor, Tensor] = {}
        rows = g[index].float().permute(2, 3, 0, 1).contiguous()
        leave_stem(stem, norm, [record], [RowGradient(rows, index)], found, step=0)
    torch.testing.assert_close(norm.running_mean, running.float(), rtol=1e-5, atol=1e-5)
    for parameter, gradient in zip(parameters, wanted, strict=True):
        if parameter is stem.conv.bias and training:
            assert float(found[parameter].abs().max()) < 1e-3  # a normalisation follows: it is noise around zero
            continue
        error = (found[parameter] - gradient).norm() / gradient.norm()
        assert error < (1e-4 if mean == 0 else 1e-3)


def test_what_a_chain_cannot_take_in_stays_outside() -> None:
    x = torch.randn(1, 4, 8, 8)
    assert stem_obstacle(Stem(nn.Conv2d(4, 8, 3, groups=2)), x)
    assert stem_obstacle(Stem(nn.Conv2d(4, 32, 3, padding="same")), x)
    assert stem_obstacle(Stem(nn.Conv2d(4, 32, 3, padding=1, padding_mode="circular")), x)
    assert stem_obstacle(Stem(nn.Conv2d(4, 17, 3)), x)  # 36 inputs for 17 outputs
    assert stem_obstacle(Stem(nn.Conv2d(4, 17, 3), nn.MaxPool2d(2)), x) == ""
    assert stem_obstacle(Stem(nn.Conv2d(4, 18, 3), nn.AvgPool2d(2)), x)  # type: ignore[arg-type]
    assert stem_obstacle(Stem(nn.Conv2d(4, 18, 3)), x) == ""
    assert stem_obstacle(Stem(nn.Conv2d(4, 18, 3)), x.requires_grad_())


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_images_that_need_a_gradient_get_it(name: str) -> None:
    model = network(name, FQT)
    x = images().requires_grad_()
    step(model, x)
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0


def test_a_linear_map_is_normalised_as_its_output_would_be() -> None:
    """Also if its mean is far from zero."""
    torch.manual_seed(0)
    u = torch.cat([torch.randn(500, 6) + 3, torch.ones(500, 1)], 1)
    weight = torch.randn(4, 7)
    x = (u @ weight.t()).requires_grad_()
    g = torch.randn(500, 4)
    norm = nn.BatchNorm2d(4)
    h = functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    (gradient,) = torch.autograd.grad(h, x, g)
    linear = LinearMap(weight.double(), u.double().t() @ u.double(), len(u))
    constants = linear.normalize(norm)
    torch.testing.assert_close(x * constants.a + constants.b, h, rtol=1e-4, atol=1e-5)
    found = linear.gradient(constants, g.double().t() @ u.double())[1]
    torch.testing.assert_close(found.float(), gradient.t() @ u, rtol=1e-3, atol=1e-3)
