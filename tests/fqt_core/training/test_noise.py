"""The estimates against their definitions, on distributions whose moments are known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fqt_core.training.noise import GradientNoise


def noise(exact: Tensor, *draws: Tensor) -> GradientNoise:
    found = GradientNoise(exact)
    for draw in draws:
        found.add(draw)
    return found


@given(st.integers(0, 2**31), st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_figures_are_their_definitions(seed: int, draws: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    exact = torch.randn(3, 4, 5, generator=generator)
    drawn = [exact + torch.randn(3, 4, 5, generator=generator) for _ in range(draws)]
    figures = noise(exact, *drawn).figures("dx")
    errors = torch.stack([draw - exact for draw in drawn]).double().flatten(1)
    square = float(exact.double().square().sum())
    gram = errors @ errors.T
    assert figures == pytest.approx(
        {
            "dx_relative_variance": float(errors.var(0).sum()) / square,
            "dx_squared_bias": float(gram.sum() - gram.trace()) / (draws * (draws - 1) * square),
            "dx_cosine": sum(float(torch.cosine_similarity(d.flatten(), exact.flatten(), 0)) for d in drawn) / draws,
        },
        rel=1e-4,
        abs=1e-5,
    )


def test_estimates_of_many_draws_come_to_the_truth() -> None:
    generator = torch.Generator().manual_seed(1)
    exact, bias = torch.full((50,), 2.0), torch.zeros(50)
    bias[:25] = 1.0
    pairs = [
        noise(exact, *(exact + bias + 3 * torch.randn(50, generator=generator) for _ in range(2))).figures("g")
        for _ in range(400)
    ]
    mean = {name: sum(pair[name] for pair in pairs) / len(pairs) for name in pairs[0]}
    # ‖g‖² = 200; Var = 50 · 9; bias² = 25. The deviation of the means is about 0.02.
    assert mean["g_relative_variance"] == pytest.approx(2.25, abs=0.1)
    assert mean["g_squared_bias"] == pytest.approx(0.125, abs=0.1)


def test_what_cannot_be_told_is_left_out() -> None:
    one = torch.ones(4)
    assert noise(torch.zeros(4), one, one).figures("dx") == {}
    assert noise(one, one).figures("dx") == {}
    assert noise(one, one * torch.inf, one).figures("dx") == {}


def test_a_draw_of_zeros_has_no_direction() -> None:
    figures = noise(torch.ones(4), torch.zeros(4), torch.zeros(4)).figures("dw")
    assert figures == {"dw_relative_variance": 0.0, "dw_squared_bias": 1.0, "dw_cosine": 0.0}


def test_it_starts_again_with_the_same_exact_gradient() -> None:
    exact, other = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 5.0])
    found = noise(exact, torch.zeros(2), torch.zeros(2))
    found.restart()
    found.add(other)
    found.add(other)
    assert found.figures("dx")["dx_squared_bias"] == pytest.approx(1 / 25)
