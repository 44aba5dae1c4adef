"""Arguments for the optimiser's operations: shapes and values that hurt, drawn by hypothesis."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.fqt_core.hwnc_cases import some_rising


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


def _adam(draw: st.DrawFn) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    weight = _latents(draw, generator)
    index = some_rising(len(weight), draw, generator)
    size = draw(st.sampled_from([1e-30, 1e-6, 1.0, 1e6]))
    gradient = torch.randn((len(index), *weight.shape[1:]), generator=generator) * size
    step = draw(st.sampled_from([1, 2, 10, 1000, 10**6]))
    fresh = step == 1
    exp_avg = torch.randn(weight.shape, generator=generator) * (0.0 if fresh else size)
    exp_avg_sq = torch.randn(weight.shape, generator=generator).square() * (0.0 if fresh else size * size)
    lr, eps = draw(st.sampled_from([0.0, 1e-5, 0.003, 1.0])), draw(st.sampled_from([1e-8, 1e-3]))
    beta1, beta2 = draw(st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.95, 0.99)]))
    decay = draw(st.sampled_from([0.0, 1e-5, 0.1]))
    options = (lr, beta1, beta2, eps, decay, step, draw(st.booleans()))
    return weight, exp_avg, exp_avg_sq, gradient, index, *options


ADAM_ARGUMENTS = {"mean_magnitude": _magnitude, "adam_binary_": _adam}


@st.composite
def adam_arguments(draw: st.DrawFn, name: str) -> tuple[Any, ...]:
    """Arguments for the operation ``name``."""
    return ADAM_ARGUMENTS[name](draw)
