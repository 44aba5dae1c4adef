from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fqt_core.config import GradientQuantizer
from fqt_core.quantizers import agp
from fqt_core.random import PhiloxKey


@given(st.integers(1, 100_000), st.integers(1, 1000), st.integers(1, 1000))
def test_kept_count_is_the_floor_of_the_fraction_meant(groups: int, numerator: int, denominator: int) -> None:
    meant = min(Fraction(numerator, denominator), Fraction(1))
    assert agp.kept_count(groups, float(meant)) == max(1, groups * meant.numerator // meant.denominator)


@pytest.mark.parametrize(
    ("groups", "keep", "kept"),
    [(128, 0.25, 32), (5, 0.25, 1), (3, 0.25, 1), (1, 0.125, 1), (100, 0.29, 29), (3, 1 / 3, 1), (10, 1.0, 10)],
)
def test_kept_count(groups: int, keep: float, kept: int) -> None:
    assert agp.kept_count(groups, keep) == kept


@pytest.mark.parametrize("groups", [1, 2, 3, 5, 8])
def test_fewer_groups_than_one_over_keep_still_keep_one(groups: int) -> None:
    quantizer = GradientQuantizer("sample", 8, 0.125, "systematic")
    hi = torch.rand(groups)
    selection = agp.select(torch.zeros(groups), hi, quantizer, PhiloxKey(0, 0, 0, 0))
    assert len(selection.index) == 1
