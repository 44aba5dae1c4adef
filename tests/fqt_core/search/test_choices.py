"""The rules of the search against straightforward computations: loops, enumerations, counts of built networks."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fqt_core.config import ArchitectureConfig, Convnet, Nce, Vgg16
from fqt_core.config.plan import layer_plan
from fqt_core.config.search import choices_of, widths_of, with_widths
from fqt_core.models import build
from fqt_core.search.choices import CostModel, budget_loss, expands, interpolate, mixed, settle

NETS: list[ArchitectureConfig] = [Convnet(image_size=16, channels=1), Vgg16(width=0.25, image_size=32)]


def _interpolated(x: Tensor, channels: int) -> Tensor:
    """Channel by channel: the mean of those that its share of the range touches."""
    had = x.shape[1]
    rows = []
    for place in range(channels):
        first, last = place * had // channels, -(-(place + 1) * had // channels)
        rows.append(sum(x[:, channel] for channel in range(first, last)) / (last - first))
    return torch.stack(rows, 1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(0, 2**31))
def test_outputs_of_unlike_widths_are_mixed_as_the_paper_has_it(widths: list[int], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    outputs = [torch.randn(2, width, 3, 2, generator=draw) for width in widths]
    scores = torch.randn(len(widths), generator=draw)
    whole = sum(math.exp(score) for score in scores.tolist())
    expected = sum(
        math.exp(score) / whole * _interpolated(output, max(widths))
        for score, output in zip(scores.tolist(), outputs, strict=True)
    )
    torch.testing.assert_close(mixed(outputs, scores), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(interpolate(outputs[0], max(widths)), _interpolated(outputs[0], max(widths)))


@pytest.mark.parametrize("config", NETS, ids=lambda config: config.name)
def test_expected_counts_are_means_over_every_network(config: ArchitectureConfig) -> None:
    """Two layers at a time have two choices each: the mean over the four networks, as they are built."""
    begin = widths_of(config)
    costs = CostModel.of(layer_plan(config, 5))
    for layer in range(0, len(begin) - 1, 3):
        chances = (0.25, 0.75)
        means = [0.0, 0.0]
        for picks in itertools.product((0, 1), repeat=2):
            widths = list(begin)
            for place, pick in zip((layer, layer + 1), picks, strict=True):
                widths[place] = (begin[place], begin[place] + 16)[pick]
            found = with_widths(config, widths)
            share = chances[picks[0]] * chances[picks[1]]
            parameters = sum(p.numel() for p in build(found, num_classes=5).parameters())
            means[0] += share * layer_plan(found, 5).macs
            means[1] += share * parameters
        expected = [torch.tensor(float(width)) for width in begin]
        for place in (layer, layer + 1):
            expected[place] = torch.tensor(begin[place] + 0.75 * 16)
        assert [float(count) for count in costs.expected(expected)] == pytest.approx(means, rel=1e-6)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((99.0, 4.0), 0.0),
        ((200.0, 4.0), math.log(2)),
        ((200.0, 30.0), math.log(2) + math.log(3)),
        ((50.0, 8.0), -math.log(0.8)),  # the second budget is the fuller one
        ((200.0, 8.0), math.log(2)),
    ],
)
def test_budgets_press_down_beyond_them_and_up_where_both_are_left(
    counts: tuple[float, float], expected: float
) -> None:
    both = [torch.tensor(count, requires_grad=True) for count in counts]
    loss = budget_loss(both, (100.0, 10.0))
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)
    if expected:
        loss.backward()
        assert (both[0].grad is not None and float(both[0].grad) > 0) == (counts[0] > 100)


def test_a_layer_is_expanded_if_it_prefers_its_widest_choice_and_there_is_another() -> None:
    for active, chances in ((2, [0.6, 0.4]), (3, [0.1, 0.2, 0.7])):
        for most, threshold in itertools.product((2, 3, 4), (0.3, 0.5, 0.9)):
            wanted = chances[-1] > threshold and most > active
            assert expands(chances, active, most, threshold) == wanted


@pytest.mark.parametrize(
    ("width", "options", "begin", "later"),
    [
        (64, {}, [32, 40, 48, 56, 64], [72, 80, 88, 96, 104, 112, 120, 128]),
        (16, {}, [8, 16], [24, 32]),
        (512, {"choices": 3, "limit": 1.25}, [384, 448, 512], [576, 640]),
        (8, {"limit": 1.0}, [8], []),
    ],
)
def test_choices_are_multiples_of_eight_up_to_the_limit(
    width: int, options: dict[str, Any], begin: list[int], later: list[int]
) -> None:
    assert choices_of(width, Nce(**options)) == begin + later


@st.composite
def _problems(draw: Any) -> tuple[list[list[int]], list[list[float]], tuple[float, float]]:
    choices = draw(
        st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True).map(sorted), min_size=2, max_size=4)
    )
    chances = [[draw(st.floats(0.01, 1)) for _ in each] for each in choices]
    most = _counts([each[-1] for each in choices])
    share = draw(st.floats(0.05, 1.1)), draw(st.floats(0.05, 1.1))
    return choices, chances, (most[0] * share[0], most[1] * share[1])


def _counts(widths: list[int]) -> tuple[int, int]:
    pairs = [one * other for one, other in itertools.pairwise([1, *widths])]
    return 9 * sum(pairs) + 4 * widths[-1], sum(pairs) + 3 * sum(widths)


@settings(max_examples=150, deadline=None)
@given(_problems())
def test_what_is_settled_fits_the_budgets_and_nothing_wider_would(problem: Any) -> None:
    choices, chances, budgets = problem

    def fits(widths: list[int]) -> bool:
        return all(count <= budget for count, budget in zip(_counts(widths), budgets, strict=True))

    found = settle(choices, chances, _counts, budgets)
    everything = [list(widths) for widths in itertools.product(*choices)]
    if found is None:
        assert not any(map(fits, everything))
        return
    assert fits(found)
    likeliest = [options[each.index(max(each))] for options, each in zip(choices, chances, strict=True)]
    if fits(likeliest):
        assert all(width >= least for width, least in zip(found, likeliest, strict=True))
    for layer, options in enumerate(choices):
        place = options.index(found[layer])
        if place + 1 < len(options):
            assert not fits([*found[:layer], options[place + 1], *found[layer + 1 :]])


def test_of_steps_that_fit_the_more_probable_are_taken_and_of_those_that_save_the_less_probable() -> None:
    choices = [[1, 2, 3], [1, 2, 3]]
    prefers_first = [[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]

    def counts(widths: list[int]) -> tuple[int, int]:
        return sum(widths), sum(widths)

    assert settle(choices, prefers_first, counts, (4, 9)) == [3, 1]
    assert settle(choices, prefers_first, counts, (5, 9)) == [3, 2]  # room that the most probable widths leave
    assert settle(choices, [[0.1, 0.2, 0.7], [0.1, 0.4, 0.5]], counts, (5, 9)) == [3, 2]
    assert settle(choices, [[0.1, 0.2, 0.7], [0.1, 0.4, 0.5]], counts, (1, 9)) is None
