"""Muon: the Newton-Schulz iteration against the singular value decomposition, and its step against the formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fqt_core.config import Method
from fqt_core.errors import ConfigurationError
from fqt_core.layers import BinaryLayer
from fqt_core.training.muon import COEFFICIENTS, ITERATIONS, Muon, orthogonalize
from fqt_core.training.optimizer import build_optimizer
from fqt_core.training.step import training_step

from .nets import config, network

SHAPES = [(8, 72), (72, 8), (16, 16), (1, 5), (64, 576), (128, 100)]


def matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def textbook(x: Tensor) -> Tensor:
    """The iteration as it is published, in float64."""
    a, b, c = COEFFICIENTS
    x = x.double()
    if x.shape[0] > x.shape[1]:
        return textbook(x.T).T
    x = x / x.norm()
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_it_is_the_published_iteration(shape: tuple[int, int], scale: float) -> None:
    x = matrix(*shape)
    assert torch.allclose(orthogonalize(x * scale).double(), textbook(x), atol=2e-4)


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (1, 5), (64, 576)])
def test_singular_values_end_near_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    x = matrix(*shape)
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    diagonal = u.T @ orthogonalize(x) @ v.T
    values = diagonal.diagonal()
    assert 0.68 < float(values.min()) <= float(values.max()) < 1.21
    assert float((diagonal - values.diag()).abs().max()) < 1e-3


def test_a_matrix_of_lower_rank_keeps_its_rank() -> None:
    low = matrix(16, 3) @ matrix(3, 90, seed=1)
    values = torch.linalg.svdvals(orthogonalize(low))
    assert 0.68 < float(values[2]) <= float(values[0]) < 1.21
    assert float(values[3]) < 1e-2
    assert not orthogonalize(torch.zeros(4, 9)).any()


def test_a_step_is_the_formula_for_latents_and_adam_for_the_rest() -> None:
    model = network("qat", weight_scale="learned")
    wanted = config(optimizer="muon", binary_learning_rate=0.02, momentum=0.9, weight_decay=1e-2)
    optimizer = build_optimizer(model, wanted)
    assert isinstance(optimizer, Muon)
    latents = {id(module.weight) for module in model.modules() if isinstance(module, BinaryLayer)}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    others = torch.optim.Adam(
        [
            {"params": [before[name].requires_grad_()], "weight_decay": 1e-2 if p.dim() > 1 else 0.0}
            for name, p in model.named_parameters()
            if id(p) not in latents
        ],
        lr=5e-3,
    )
    buffers = {name: torch.zeros_like(p) for name, p in model.named_parameters() if id(p) in latents}
    for step in range(3):
        for number, (name, p) in enumerate(model.named_parameters()):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * step + number)).to(p)
            if id(p) not in latents:
                before[name].grad = p.grad.clone()
                continue
            w = before[name]
            gradient = p.grad + 1e-2 * w
            buffers[name] = 0.9 * buffers[name] + gradient
            update = textbook((gradient + 0.9 * buffers[name]).flatten(1)).float().view_as(w)
            before[name] = w - 0.02 * math.sqrt(max(1, 8 / 72)) * update
        optimizer.step()
        others.step()
        for name, p in model.named_parameters():
            assert torch.allclose(p, before[name], atol=1e-4), (step, name)


def test_a_tall_weight_takes_a_longer_step() -> None:
    weight = torch.nn.Parameter(torch.zeros(64, 4))
    optimizer = Muon([{"params": [weight], "lr": 1.0, "weight_decay": 0.0, "orthogonal": True}], momentum=0.0)
    weight.grad = matrix(64, 4)
    optimizer.step()
    assert torch.allclose(-weight.detach(), 4 * orthogonalize(weight.grad), atol=1e-5)


@pytest.mark.parametrize("method", ["qat", "fqt"])
def test_the_next_forward_pass_sees_the_new_signs(method: str) -> None:
    """Packed weights are cached by layer; a step of Muon must not leave old ones behind."""
    model = network(method)
    optimizer = build_optimizer(model, config(optimizer="muon", binary_learning_rate=0.5))
    layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    images, labels = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    for step in range(3):
        before = [layer.packed_weight().clone() for layer in layers]
        training_step(model, optimizer, (images, labels), seed=0, step=step, classes=3, layers=layers)
        for layer, old in zip(layers, before, strict=True):
            assert not torch.equal(layer.packed_weight(), old)
            assert float(layer.weight.detach().abs().max()) <= 1
            fresh = type(layer)(8, 8, 3, padding=1, method=Method(method), state=layer.state, layer_index=1)  # type: ignore[call-arg]
            fresh.load_state_dict(layer.state_dict())
            assert torch.equal(layer.packed_weight(), fresh.packed_weight())


def test_a_network_without_binarised_layers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"training\.optimizer: muon .* use adam or sgd"):
        build_optimizer(network("fp32"), config(optimizer="muon"))
