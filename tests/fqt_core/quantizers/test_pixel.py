from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fqt_core.config import GradientQuantizer
from fqt_core.ops import waiting
from fqt_core.quantizers import pixel
from fqt_core.quantizers.agp import Selection
from fqt_core.random import PhiloxKey
from tests.fqt_core.cases import gradient

ROUNDING, OTHER = PhiloxKey(7, 3, 1, 0), PhiloxKey(7, 3, 1, 4)


@pytest.mark.parametrize(
    ("rows", "keep", "kept"), [(1, 0.1, 1), (7, 0.5, 4), (6, 0.25, 2), (5, 1.0, 5), (100, 0.5, 50)]
)
def test_the_number_of_kept_rows_is_rounded(rows: int, keep: float, kept: int) -> None:
    assert pixel.kept_rows(rows, keep) == kept


def test_norms_are_those_of_rows_and_tell_what_is_not_finite() -> None:
    g = torch.randn(3, 5, 2, 4)
    torch.testing.assert_close(pixel.row_norms(g), g.movedim(1, -1).reshape(-1, 5).norm(dim=1))
    assert float(pixel.row_norms(torch.full((1, 4), 1e-42)).max()) > 0
    for bad in (float("nan"), float("-inf"), 3e38):
        g[1, :, 1, 2] = bad
        assert torch.isfinite(pixel.row_norms(g)).logical_not().nonzero().flatten().tolist() == [8 + 6]


def _rows_estimate(codes: pixel.RowCodes, bits: int, sample: Tensor) -> Tensor:
    """float64 (k, D): what the codes for dL/dX stand for."""
    odd = 2 * codes.codes.double() - (2**bits - 1)
    if codes.offset is None:
        return codes.scale.double()[sample, None] * odd
    assert codes.dither is not None
    assert codes.sign is not None
    return codes.scale[:, None].double() * odd + codes.offset[:, None].double() - codes.dither[:, None] * codes.sign


def _channels_estimate(codes: pixel.ChannelCodes) -> Tensor:
    """float64 (D, k): what the codes for dL/dW stand for."""
    dither = torch.zeros_like(codes.codes, dtype=torch.float64)
    if codes.dither is not None:
        assert codes.phase is not None
        dither = (codes.sign * codes.dither[:, codes.phase.long()]).double()
    return codes.offset[:, None].double() + codes.scale[:, None].double() * (codes.codes.double() - dither)


@given(
    st.tuples(*[st.integers(1, 5)] * 4),
    st.integers(0, 2**31),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from(["dither", "stochastic"]),
)
@settings(max_examples=60)
def test_estimates_are_within_a_step_of_the_rows(shape: tuple[int, ...], seed: int, bits: int, rounding: str) -> None:
    """Half a step with a dither, a whole one with stochastic rounding, for every element that no clipping moves."""
    g = gradient(shape, seed)
    quantizer = GradientQuantizer("pixel", bits, rounding=rounding)  # type: ignore[arg-type]
    rows = g.movedim(1, -1).reshape(-1, shape[1])
    index = torch.arange(len(rows))[:: 1 + seed % 2]
    factor = torch.rand(len(index), generator=torch.Generator().manual_seed(seed)) + 1
    values = rows[index] * factor[:, None]
    selection = Selection(index, factor)
    share = 0.5 if rounding == "dither" else 1.0

    def bound(step: Tensor) -> Tensor:
        return step.double() * share * (1 + 1e-4) + values.abs().max() * 1e-6 + 1e-44

    by_row = pixel.quantize_for_input(g, selection, quantizer, ROUNDING, OTHER)
    sample = index // (shape[2] * shape[3])
    step = 2 * (by_row.scale if by_row.offset is not None else by_row.scale[sample])
    error = (_rows_estimate(by_row, bits, sample) - values).abs()
    assert bool((error <= bound(step)[:, None]).all())
    by_channel = pixel.quantize_for_weight(g, selection, quantizer, ROUNDING, OTHER)
    error = (_channels_estimate(by_channel) - values.T).abs()
    assert bool((error <= bound(by_channel.scale)[:, None]).all())


@pytest.mark.parametrize("rounding", ["dither", "stochastic"])
def test_clipping_narrows_ranges_to_the_root_mean_square(rounding: str) -> None:
    g = torch.randn(2, 64, 5, 5, generator=torch.Generator().manual_seed(1))
    g[0, 3, 2, 2] = 100.0
    quantizer = GradientQuantizer("pixel", 2, clip=1.0, rounding=rounding)  # type: ignore[arg-type]
    everything = Selection(torch.arange(50), torch.ones(50))
    rows = g.movedim(1, -1).reshape(-1, 64).double()
    codes = pixel.quantize_for_input(g, everything, quantizer, ROUNDING, OTHER)
    by_row = rows.square().mean(1).sqrt()
    by_sample = torch.stack([rows[:25].square().mean(), rows[25:].square().mean()]).sqrt()
    # Of the row and the channel with the outlier only one side is clipped, unless ranges are symmetric.
    inside = torch.arange(50) != 12 if rounding == "dither" else torch.arange(2) < 2
    expected = (by_row if rounding == "dither" else by_sample) * (1.0 / 3)  # half of a third of the whole range
    torch.testing.assert_close(codes.scale.double()[inside], expected[inside], rtol=2e-3, atol=0)
    channels = pixel.quantize_for_weight(g, everything, quantizer, ROUNDING, OTHER)
    inside = torch.arange(64) != (3 if rounding == "dither" else 64)
    expected = rows.square().mean(0).sqrt()[inside] * (2 / 3)
    torch.testing.assert_close(channels.scale.double()[inside], expected, rtol=2e-3, atol=0)


def test_the_dither_of_four_phases_covers_a_step_evenly() -> None:
    g = torch.randn(3, 6, 4, 4, generator=torch.Generator().manual_seed(2))
    selection = Selection(torch.arange(48), torch.ones(48))
    codes = pixel.quantize_for_weight(g, selection, GradientQuantizer("pixel", 2, rounding="dither"), ROUNDING, OTHER)
    assert codes.dither is not None
    assert codes.sign is not None
    assert codes.phase is not None
    gaps = codes.dither.sort(dim=1).values.diff(dim=1)
    assert bool((gaps == 0.25).all())
    assert float(codes.dither.abs().max()) < 0.5
    assert set(codes.sign.tolist()) == {-1.0, 1.0}
    assert set(codes.phase.tolist()) == {0, 1, 2, 3}


@given(
    st.tuples(*[st.integers(1, 6)] * 4),
    st.integers(0, 2**31),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from(["dither", "stochastic"]),
    st.sampled_from([None, 0.5, 2.5]),
    st.booleans(),
)
@settings(max_examples=80)
def test_rows_whose_number_nobody_looks_at_have_the_same_codes(
    shape: tuple[int, ...], seed: int, bits: int, rounding: str, clip: float | None, shifted: bool
) -> None:
    """Bernoulli selection on a GPU: as many entries as there are rows, of which the kept ones come first."""
    g = gradient(shape, seed) + (1e3 if shifted else 0)  # far from zero, which no range of kept rows then holds
    quantizer = GradientQuantizer("pixel", bits, 0.3, "bernoulli", clip, rounding)  # type: ignore[arg-type]
    norms = pixel.row_norms(g)
    gathered = pixel.select(norms, quantizer, OTHER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "at_once", lambda _: False)
        padded = pixel.select(norms, quantizer, OTHER)
    rows, kept = len(norms), len(gathered.index)
    assert padded.dense or kept == rows
    assert torch.equal(padded.index[:kept], gathered.index)
    assert torch.equal(padded.factor[:kept], gathered.factor)
    assert bool((padded.index[kept:] >= rows).all())
    assert bool((padded.index.diff() > 0).all())
    assert not bool(padded.factor[kept:].any())
    one, other = (pixel.quantize_for_input(g, each, quantizer, ROUNDING, OTHER) for each in (gathered, padded))
    per_row = {"codes", "scale", "offset", "dither"} if rounding == "dither" else {"codes"}
    _check_first(one, other, kept, dict.fromkeys(per_row, 0))
    one, other = (pixel.quantize_for_weight(g, each, quantizer, ROUNDING, OTHER) for each in (gathered, padded))
    _check_first(one, other, kept, {"codes": 1, "sign": 0, "phase": 0})


def _check_first(one: object, other: object, kept: int, along: dict[str, int]) -> None:
    """All tensors of codes are equal, those with an entry per row, ``along`` a dimension, in their first entries."""
    for name, value in vars(one).items():
        found = getattr(other, name)
        if isinstance(value, Tensor) and name in along:
            found = found.narrow(along[name], 0, kept)
        assert (value is None and found is None) or torch.equal(value, found), name
