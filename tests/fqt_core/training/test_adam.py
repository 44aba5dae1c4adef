"""Adam for binarised layers: agreement with torch's, compact gradients, and what stays with the layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fqt_core import ops
from fqt_core.config import Method
from fqt_core.config.threads import WORTH_A_THREAD
from fqt_core.layers import BinaryConv2d, BinaryLayer, BinaryLinear, CompactGradient, DeferredGradient
from fqt_core.ops.threads import torch_threads
from fqt_core.quantizers.scale import mean_scale
from fqt_core.quantizers.sign import pack_weight
from fqt_core.random import PhiloxState
from fqt_core.training import Trainer
from fqt_core.training.adam import BinaryAdam, compact_gradients
from fqt_core.training.diagnosis import first_non_finite_gradient, gradient_sum
from fqt_core.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors
from fqt_core.training.step import training_step

from .nets import config, network, pictures, stop_after

ADAM = config(learning_rate=3e-3, weight_decay=1e-2)


def layers_of(model: nn.Module) -> list[BinaryLayer]:
    return [module for module in model.modules() if isinstance(module, BinaryLayer)]


def mixed(seed: int = 0) -> nn.Module:
    """Convolutions with and without groups, a linear layer, learned and mean scales; nothing but parameters counts."""
    state, method = PhiloxState(), Method("fqt")
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 70, 3),
        BinaryConv2d(70, 6, 3, method=method, state=state, layer_index=0),
        BinaryConv2d(6, 8, (1, 5), groups=2, method=Method("fqt", weight_scale="learned"), state=state, layer_index=1),
        BinaryConv2d(8, 8, 1, method=method, state=state, layer_index=2),
        BinaryLinear(33, 4, method=method, state=state, layer_index=3),
        nn.Linear(4, 2),
    )


def give_gradients(model: nn.Module, seed: int, size: float = 1e-3) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator) * size)


def test_agrees_with_torchs_adam() -> None:
    model, other = mixed(), mixed()
    optimizer = build_optimizer(model, ADAM)
    groups = [
        {
            **group,
            "params": [dict(zip(model.parameters(), other.parameters(), strict=True))[p] for p in group["params"]],
        }
        for group in optimizer.param_groups
    ]
    expected = torch.optim.Adam(groups)
    assert isinstance(optimizer, BinaryAdam)
    for step in range(6):
        give_gradients(model, step)
        give_gradients(other, step)
        optimizer.step()
        expected.step()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
        for key in ("step", "exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(optimizer.state[one][key], expected.state[two][key], rtol=1e-5, atol=1e-9)


def test_parameters_without_gradients_stay_as_they_are() -> None:
    model = mixed()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    build_optimizer(model, ADAM).step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_latents_are_clamped_in_the_step() -> None:
    model = mixed()
    optimizer = build_optimizer(model, config(learning_rate=5.0))
    give_gradients(model, 0)
    optimizer.step()
    for layer in layers_of(model):
        assert set(layer.weight.detach().abs().unique().tolist()) == {1.0}
        version = layer.weight._version
        layer.clamp_latents_()
        assert layer.weight._version == version


def hand_over(layer: BinaryLayer, index: torch.Tensor) -> None:
    """Move the gradient of some output channels from the weight to the layer; the rest is lost."""
    assert layer.weight.grad is not None
    rows = layer.weight.grad.movedim(1, -1)[index].contiguous()
    layer.weight.grad = None
    layer.add_compact_gradient(CompactGradient(rows, index))


@pytest.mark.parametrize("kept", [[], [1], [0, 3], [0, 1, 2, 3]])
def test_a_compact_gradient_is_a_dense_one_with_zeros(kept: list[int]) -> None:
    index = torch.tensor(kept, dtype=torch.int64)
    model, other = mixed(), mixed()
    compact, dense = build_optimizer(model, ADAM), build_optimizer(other, ADAM)
    for step in range(3):
        give_gradients(model, step)
        give_gradients(other, step)
        for layer, same in zip(layers_of(model), layers_of(other), strict=True):
            hand_over(layer, index)
            assert same.weight.grad is not None
            same.weight.grad[[i for i in range(len(same.weight)) if i not in kept]] = 0
        compact.step()
        dense.step()
    assert all(layer.compact_gradient is None for layer in layers_of(model))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_gradients_add_up_in_whatever_form_they_come() -> None:
    layer = layers_of(mixed())[0]
    optimizer = BinaryAdam([{"params": [layer.weight]}], [layer], lr=0.0)
    rows, dense = torch.randn(3, 2, 3, 3, 70), torch.randn(6, 70, 3, 3)
    layer.weight.grad = dense.clone()
    for part in rows:
        layer.add_compact_gradient(CompactGradient(part, torch.tensor([1, 4])))
    optimizer.step()
    expected = dense.clone()
    expected[[1, 4]] += rows.sum(0).movedim(-1, 1)
    torch.testing.assert_close(optimizer.state[layer.weight]["exp_avg"] * 10, expected)


def test_layers_that_share_a_weight() -> None:
    one, two = (layers_of(mixed())[0] for _ in range(2))
    two.weight = one.weight
    optimizer = BinaryAdam([{"params": [one.weight]}], [one, two])
    rows = torch.randn(2, 2, 3, 3, 70)
    one.add_compact_gradient(CompactGradient(rows[0], torch.tensor([0, 1])))
    two.add_compact_gradient(CompactGradient(rows[1], torch.tensor([2, 3])))
    optimizer.step()
    found = optimizer.state[one.weight]["exp_avg"].movedim(1, -1)
    torch.testing.assert_close(found[:4] * 10, rows.flatten(0, 1))
    assert one.compact_gradient is two.compact_gradient is None
    assert one.packed_weight() is two.packed_weight()


def test_compact_gradients_are_wanted_for_a_time_only() -> None:
    model = mixed()
    layers, optimizer = layers_of(model), build_optimizer(model, ADAM)
    layers[1].weight.data = layers[1].weight.data.contiguous()  # laid out for another reader
    with compact_gradients(optimizer):
        assert [layer.wants_compact_gradient for layer in layers] == [True, False, True, True]
    assert not any(layer.wants_compact_gradient for layer in layers)
    with compact_gradients(build_optimizer(model, config(optimizer="sgd"))):
        assert not any(layer.wants_compact_gradient for layer in layers)


def test_zero_grad_drops_compact_gradients() -> None:
    model = mixed()
    layer, optimizer = layers_of(model)[0], build_optimizer(model, ADAM)
    for drop in (optimizer.zero_grad, layer.zero_grad):
        give_gradients(model, 0)
        hand_over(layer, torch.tensor([2]))
        drop()
        assert layer.compact_gradient is None


def test_a_compact_gradient_that_is_not_finite_is_found() -> None:
    model = mixed()
    give_gradients(model, 0)
    for layer in layers_of(model):
        hand_over(layer, torch.tensor([2]))
    optimizer = build_optimizer(model, ADAM)
    assert gradient_sum(optimizer, layers_of(model)).isfinite()
    compact = layers_of(model)[2].compact_gradient
    assert compact is not None
    compact.rows[0, 0, 0, 5] = float("nan")
    assert not gradient_sum(optimizer, layers_of(model)).isfinite()
    assert first_non_finite_gradient(model) == "3"


@pytest.mark.parametrize("spoiled", [0, 1])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_found_whatever_its_size(spoiled: int, value: float) -> None:
    small, large = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, WORTH_A_THREAD))
    optimizer = torch.optim.SGD([small, large], lr=1.0)
    for parameter in (small, large):
        parameter.grad = torch.ones_like(parameter)
    assert gradient_sum(optimizer, []) == 3 + 2 * WORTH_A_THREAD
    gradient = (small, large)[spoiled].grad
    assert gradient is not None
    gradient.view(-1)[-1] = value
    assert not gradient_sum(optimizer, []).isfinite()


def deferred(layer: BinaryLayer, index: torch.Tensor, scale: float) -> DeferredGradient:
    """Of codes that are all zero, for a convolution of 1x1."""
    channels, kept = layer.weight.shape[1], len(index)
    return DeferredGradient(
        torch.zeros(2, 3, 4, 1, dtype=torch.int64),
        torch.zeros(2, 3, kept, 4, dtype=torch.uint8),
        torch.full((kept,), scale),
        torch.zeros(kept),
        torch.ones(len(layer.weight)),
        channels=channels,
        geometry=((1, 1), (1, 1), (0, 0), (1, 1)),
        index=index,
    )


@pytest.mark.parametrize(("scale", "culprit"), [(3e38, None), (float("inf"), "3")])
def test_a_deferred_gradient_is_made_only_where_its_bound_does_not_tell(
    scale: float, culprit: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, made = mixed(), []
    optimizer = build_optimizer(model, ADAM)
    layer = layers_of(model)[2]
    product = ops.hwnc_weight_gradient

    def watched(*arguments: Any) -> torch.Tensor:
        made.append(True)
        return product(*arguments)

    monkeypatch.setattr(ops, "hwnc_weight_gradient", watched)
    layer.add_compact_gradient(deferred(layer, torch.tensor([2]), 1.0))
    assert gradient_sum(optimizer, [layer]).isfinite()
    assert not made
    layer.compact_gradient = deferred(layer, torch.tensor([2]), scale)
    assert not gradient_sum(optimizer, [layer]).isfinite()
    assert first_non_finite_gradient(model) == culprit
    assert made


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("which", ["scale", "offset", "alpha"])
def test_each_factor_of_a_deferred_gradient_is_in_its_bound(which: str, value: float) -> None:
    layer = layers_of(mixed())[2]
    gradients = [deferred(layer, torch.tensor([2]), 1.0), deferred(layer, torch.tensor([0, 1]), 1.0)]
    assert DeferredGradient.bound(gradients).isfinite()
    getattr(gradients[1], which)[-1] = value
    assert not DeferredGradient.bound(gradients).isfinite()


def double_linear() -> BinaryLayer:
    return BinaryLinear(33, 4, method=Method("fqt"), state=PhiloxState(), layer_index=0).double()


def convolution_with_channels_apart() -> BinaryLayer:
    layer = BinaryConv2d(5, 4, 3, method=Method("fqt"), state=PhiloxState(), layer_index=0)
    layer.weight.data = layer.weight.data.contiguous()
    return layer


@pytest.mark.parametrize("make", [double_linear, convolution_with_channels_apart])
def test_latents_that_the_kernel_does_not_take(make: Callable[[], BinaryLayer]) -> None:
    layer = make()
    other = nn.Parameter(layer.weight.detach().clone())
    optimizer, expected = BinaryAdam([{"params": [layer.weight]}], [layer]), torch.optim.Adam([other])
    for step in range(3):
        rows = torch.randn(2, *layer.weight.movedim(1, -1).shape[1:], generator=torch.Generator().manual_seed(step))
        layer.add_compact_gradient(CompactGradient(rows, torch.tensor([0, 2])))
        other.grad = torch.zeros_like(other)
        other.grad[[0, 2]] = rows.movedim(-1, 1).to(other.dtype)
        optimizer.step()
        expected.step()
        layer.zero_grad()
    torch.testing.assert_close(layer.weight, other)
    assert layer.weight_cache.get(layer.weight) is None


def test_a_closure_is_evaluated_with_gradients() -> None:
    model = network("fqt")
    optimizer = build_optimizer(model, ADAM)
    images = torch.rand(4, 1, 8, 8)

    def closure() -> float:
        loss = model(images).square().mean()
        loss.backward()
        return loss.item()

    before = layers_of(model)[0].weight.detach().clone()
    assert optimizer.step(closure) > 0
    assert not torch.equal(before, layers_of(model)[0].weight)


def test_words_and_scale_of_a_step_are_those_of_the_weight() -> None:
    model = mixed()
    optimizer = build_optimizer(model, config(learning_rate=0.05))
    give_gradients(model, 0)
    optimizer.step()
    for layer in layers_of(model):
        known = layer.weight_cache.get(layer.weight)
        assert known is not None
        assert layer.packed_weight() is known[0]
        assert torch.equal(known[0], pack_weight(layer.weight))
        assert torch.equal(known[1], mean_scale(layer.weight))
        assert layer.scale() is (known[1] if layer.alpha is None else layer.alpha)
    assert torch.equal(layers_of(model)[0].packed_weight(), ops.pack_sign(layers_of(model)[0].weight.detach()))


def test_a_training_step_computes_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("fqt")
    optimizer, layers = build_optimizer(model, config()), layers_of(model)
    batch = torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    training_step(model, optimizer, batch, seed=0, step=0, classes=3, layers=layers)
    monkeypatch.setattr("fqt_core.layers.base.pack_weight", None)
    monkeypatch.setattr("fqt_core.layers.base.mean_scale", None)
    training_step(model, optimizer, batch, seed=0, step=1, classes=3, layers=layers)


def test_state_comes_back_in_the_memory_format_of_its_parameter(tmp_path: Path) -> None:
    model = network("fqt")
    events = stop_after(model, config(), 3, tmp_path)
    again = network("fqt", seed=1)
    trainer = Trainer(again, pictures(), config(), resume_from=events[-2].path)  # type: ignore[union-attr]
    for parameter in again.parameters():
        state = trainer._optimizer.state[parameter]
        assert state["exp_avg"].stride() == state["exp_avg_sq"].stride() == parameter.stride()
        assert not state["exp_avg"].requires_grad
    assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in layers_of(again))


@pytest.mark.parametrize("own", [True, False])
def test_a_step_after_loading_gives_the_same_bits(own: bool) -> None:
    model = mixed()
    optimizer = build_optimizer(model, ADAM)
    give_gradients(model, 0)
    optimizer.step()
    again = mixed(seed=1)
    resumed = build_optimizer(again, ADAM)
    again.load_state_dict({name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()})
    if own:
        tensors = {name: tensor.contiguous() for name, tensor in optimizer_tensors(model, optimizer).items()}
        load_optimizer_tensors(again, resumed, tensors)
    else:  # torch's own way, which keeps the memory format of what it is given
        state = optimizer.state_dict()
        state["state"] = {
            key: {name: value.contiguous().clone() for name, value in entry.items()}
            for key, entry in state["state"].items()
        }
        resumed.load_state_dict(state)
    for which, how in ((model, optimizer), (again, resumed)):
        give_gradients(which, 1)
        how.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_that_take_whole_layers_give_what_one_gives(threads: int) -> None:
    """Ten layers, none of which is more than a thread's share; the gradients of every other one are to be made."""

    def after(update: Callable[[list[torch.Tensor], list[Any]], None]) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        weights, gradients = [], []
        for number in range(10):
            layer = BinaryConv2d(64, 6 + number % 2, 1, method=Method("fqt"), state=PhiloxState(), layer_index=number)
            layer.weight.data.copy_(torch.randn(layer.weight.shape, generator=generator))
            layer.add_compact_gradient(
                deferred(layer, torch.tensor([1, 4]), 0.5)
                if number % 2
                else CompactGradient(torch.randn((1, 1, 1, 64), generator=generator), torch.tensor([3]))
            )
            weights.append(layer.weight)
            gradients.append(layer)
        update(weights, gradients)
        return [*weights, *(layer.packed_weight() for layer in gradients), *(layer.scale() for layer in gradients)]

    def together(weights: list[torch.Tensor], layers: list[Any]) -> None:
        BinaryAdam([{"params": weights}], layers).step()

    def by_themselves(weights: list[torch.Tensor], layers: list[Any]) -> None:
        for weight, layer in zip(weights, layers, strict=True):
            BinaryAdam([{"params": [weight]}], [layer]).step()

    with torch_threads(threads):
        found, expected = after(together), after(by_themselves)
    assert len(found) == 30
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
