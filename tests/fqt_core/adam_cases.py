"""Arguments for the optimiser's operations: shapes and values that hurt, drawn by hypothesis."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.fqt_core.hwnc_cases import HWNC_ARGUMENTS, chain_convolutions, some_rising


def _latents(draw: st.DrawFn, generator: torch.Generator) -> Tensor:
    """Rows with exact zeros of both signs among them, and exact ones."""
    shape = (
        draw(st.sampled_from([1, 2, 5, 17])),
        draw(st.sampled_from([1, 1, 4, 9, 25])),
        draw(st.sampled_from([1, 3, 15, 16, 17, 31, 33, 63, 64, 65, 100, 130, 200])),
    )
    w = torch.randn(shape, generator=generator) * draw(st.sampled_from([0.01, 1.0]))
    return torch.where(w.abs() < 0.001, w.sign() * 0.0, w.clamp(-1, 1))


def _magnitude(draw: st.DrawFn) -> tuple[Any, ...]:
    return (_latents(draw, torch.Generator().manual_seed(draw(st.integers(0, 2**31)))),)


def _averages(like: Tensor, size: float, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Of gradients and of their squares, before a step."""
    exp_avg = torch.randn(like.shape, generator=generator) * (0.0 if step == 1 else size)
    return exp_avg, torch.randn(like.shape, generator=generator).square() * (0.0 if step == 1 else size * size)


def _constants(draw: st.DrawFn) -> tuple[float, float, float, float, float]:
    lr, eps = draw(st.sampled_from([0.0, 1e-5, 0.003, 1.0])), draw(st.sampled_from([1e-8, 1e-3]))
    beta1, beta2 = draw(st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.95, 0.99)]))
    return lr, beta1, beta2, eps, draw(st.sampled_from([0.0, 1e-5, 0.1]))


_STEPS = st.sampled_from([1, 2, 10, 1000, 10**6])


def _adam(draw: st.DrawFn) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    weight = _latents(draw, generator)
    index = some_rising(len(weight), draw, generator)
    size, step = draw(st.sampled_from([1e-30, 1e-6, 1.0, 1e6])), draw(_STEPS)
    gradient = torch.randn((len(index), *weight.shape[1:]), generator=generator) * size
    averages = _averages(weight, size, step, generator)
    return weight, *averages, gradient, index, *_constants(draw), step, draw(st.booleans())


def _adam_all(draw: st.DrawFn) -> tuple[Any, ...]:
    """Layers that a thread each may take, for some are alike, with gradients made and to be made."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows, made, geometry, steps = [], [], [], []
    for case in draw(st.lists(chain_convolutions(), min_size=1, max_size=2)) * draw(st.integers(1, 2)):
        x, codes, channels, *pairs, scale, offset = HWNC_ARGUMENTS["hwnc_weight_gradient"](case, draw)
        kept = codes.shape[2]
        weight = torch.randn((kept + draw(st.integers(1, 3)), prod(pairs[0]), channels), generator=generator)
        step = draw(_STEPS)
        gradient = torch.randn((kept, *weight.shape[1:]), generator=generator)
        if draw(st.booleans()):
            gradient = x
            made.append((codes, scale, offset, torch.randn(len(weight), generator=generator)))
            geometry += [number for pair in pairs for number in pair]
        averages = _averages(weight, 1.0, step, generator)
        rows.append(
            (
                weight.clamp_(-1, 1),
                *averages,
                gradient,
                torch.randperm(len(weight), generator=generator)[:kept].sort().values,
            )
        )
        steps.append(step)
    lists = [list(tensors) for tensors in zip(*rows, strict=True)]
    products = [list(tensors) for tensors in zip(*made, strict=True)] if made else [[], [], [], []]
    return *lists, *products, geometry, *_constants(draw), steps, draw(st.booleans())


ADAM_ARGUMENTS = {"mean_magnitude": _magnitude, "adam_binary_": _adam, "adam_binary_all_": _adam_all}


@st.composite
def adam_arguments(draw: st.DrawFn, name: str) -> tuple[Any, ...]:
    """Arguments for the operation ``name``."""
    return ADAM_ARGUMENTS[name](draw)
