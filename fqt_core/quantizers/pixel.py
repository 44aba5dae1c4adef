"""Pixel rows: pruning and quantising one row of channels for each sample and pixel, m = (n, h, w).

A scale per row stands outside the sum over channels of dL/dX. For dL/dΘ the factor 1 / p is folded into the values
*before* they are quantised, so that a scale per channel stands outside the sum over rows.

Formula: ``r_m = ‖R_m‖₂``, ``k = round(M · keep)`` rows are kept, row m with probability ``p_m = min(1, c · r_m)``,
    ``Σ p_m = k``; ``t_m = R_m / p_m``. A range is ``lo = max(min t, -clip · rms)``, ``hi = min(max t, clip · rms)``,
    L = 2**bits - 1, ``d = (hi - lo) / L``.

    ``dither`` (subtractive, W): ``q = clamp(round((t - lo) / d + u), 0, L)`` and ``t̂ = lo + (q - u) · d``, ranges per
    row for dL/dX and per channel, over the kept rows, for dL/dΘ. The dither has rank one, so that its share of a
    product is a few small sums: ``u = ε_c · v_m`` for dL/dX, ``v_m ~ U(-½, ½)``, ``ε_c = ±1``; ``u = ε_m · v_{κ(m),c}``
    for dL/dΘ, κ(m) uniform in 0..3, ``v_{κ,c} = ((U_c + κ / 4) mod 1) - ½``.

    ``stochastic`` (W-simple): ranges symmetric about 0, per sample for dL/dX and per channel for dL/dΘ, codes on the
    odd-integer grid ``t̂ = (2q - L) · d / 2`` with stochastic rounding: no zero point, and sums over taps stay integers.

Both are unbiased without ``clip`` and with ``bernoulli``, ``systematic`` or no pruning.

Source: ours; subtractive dither: L. G. Roberts, "Picture coding using pseudo-random noise", 1962.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.config import GradientQuantizer
from fqt_core.ops import waiting
from fqt_core.ops.division import divided
from fqt_core.ops.ranges import MOMENT_LEVELS
from fqt_core.ops.rounding import rounded
from fqt_core.ops.selection import step_size
from fqt_core.quantizers.agp import Selection
from fqt_core.random import PhiloxKey

PHASES = 4
"""Values κ of the dither of dL/dΘ: a quarter of a step apart, so that four rows together cover a step."""

_ENERGY_LEVELS = 2.0**40  # sums of 2**22 of them fit int64


@dataclass(frozen=True)
class RowCodes:
    """Codes for dL/dX, and what stands outside of their sums over channels.

    Element c of kept row j is ``scale_j · (2q - L) + offset_j - dither_j · sign_c``; without ``offset``, ``dither`` and
    ``sign`` it is ``scale_n · (2q - L)`` with n its sample. ``codes``: uint8 (k, D); ``scale``: float32 (k,), or (N,);
    ``offset``, ``dither``: float32 (k,); ``sign``: float32 (D,).
    """

    codes: Tensor
    scale: Tensor
    offset: Tensor | None = None
    dither: Tensor | None = None
    sign: Tensor | None = None


@dataclass(frozen=True)
class ChannelCodes:
    """Codes for dL/dΘ, and what stands outside of their sums over rows.

    Element c of kept row j is ``offset_c + scale_c · (q - u)``, with ``u = sign_j · dither[c, phase_j]`` if there is a
    dither. ``codes``: uint8 (D, k); ``scale``, ``offset``: float32 (D,); ``dither``: float32 (D, 4); ``sign``: float32
    (k,); ``phase``: uint8 (k,). Without a dither, ``offset`` is exactly -L/2 times ``scale``.
    """

    codes: Tensor
    scale: Tensor
    offset: Tensor
    dither: Tensor | None = None
    sign: Tensor | None = None
    phase: Tensor | None = None


def kept_rows(rows: int, keep: float) -> int:
    """``round(rows · keep)``, half up, at least 1."""
    return min(rows, max(1, int(rows * keep + 0.5)))


def row_norms(g: Tensor) -> Tensor:
    """‖R_m‖₂ of each pixel row of float32 (N, D, *): float32 (M,); not finite if the row is not, or too large."""
    return ops.pixel_square_sums(g).sqrt().to(torch.float32)


def select(norms: Tensor, quantizer: GradientQuantizer, key: PhiloxKey) -> Selection:
    """Choose the rows to keep from their norms, float32 (M,); nothing here waits for a GPU.

    A ``dense`` selection has as many entries as there are rows: the kept rows, rising, and behind them numbers from M
    on, which go on rising, with factor 0. No output has such a number, so that products leave them out.
    """
    rows = norms.shape[0]
    kept = kept_rows(rows, quantizer.keep)
    if quantizer.pruning != "bernoulli" or waiting.at_once(norms):
        return Selection(*ops.select_groups(torch.zeros_like(norms), norms, kept, quantizer.pruning, *key))
    every, factor = ops.select_groups(torch.zeros_like(norms), norms, kept, "bernoulli_dense", *key)
    chosen = factor != 0
    order = chosen.to(torch.uint8).argsort(descending=True, stable=True)  # not every torch sorts bool on CUDA
    index = torch.where(every < chosen.sum(), order, rows + every)
    return Selection(index, factor[order], dense=True)


@dataclass(frozen=True)
class _Rows:
    """The rows of a selection as they can be read: those of a dense one that were not kept repeat the first that was.

    So ranges are those of kept rows, however many they are. ``index``, int64 (k,), and ``factor``, float32 (k,), as of
    a selection, zeros where nothing was kept; ``present``: bool (k,), where kept rows are, ``None`` for everywhere.
    """

    index: Tensor
    factor: Tensor
    present: Tensor | None = None

    @classmethod
    def of(cls, selection: Selection) -> _Rows:
        index, factor = selection.index, selection.factor
        if not selection.dense:
            return cls(index, factor)
        present = index < len(index)
        return cls(
            torch.where(present, index, index[:1] % len(index)), torch.where(present, factor, factor[:1]), present
        )


def quantize_for_input(
    g: Tensor,
    selection: Selection,
    quantizer: GradientQuantizer,
    rounding_key: PhiloxKey,
    sign_key: PhiloxKey,
) -> RowCodes:
    """Quantise kept rows of G·α for dL/dX.

    Args:
        g: float32 (N, D, *), contiguous, finite.
        selection: the rows to keep.
        quantizer: bits, clip and rounding.
        rounding_key: of the v_m, or of stochastic rounding.
        sign_key: of the ε_c.
    """
    rows = _Rows.of(selection)
    values = ops.pixel_gather(g, rows.index, rows.factor, True)
    if quantizer.rounding == "stochastic":
        sample = rows.index // (g.numel() // (g.shape[0] * g.shape[1]))
        bound = _sample_bounds(values, sample, rows.present, g.shape[0], quantizer.clip)
        each = bound[sample]
        codes = _stochastic(values, -each, each, quantizer.bits, rounding_key)
        return RowCodes(codes, _half(step_size(-bound, bound, quantizer.bits)))
    lo, hi = _range(values, quantizer.clip)
    start = selection.index.new_zeros(1)
    offset = _centred(ops.uniform_numbers(start, g.numel() // g.shape[1], *rounding_key)[0, rows.index])
    sign = _signs(ops.uniform_numbers(start, g.shape[1], *sign_key)[0])
    one_level = torch.zeros_like(sign, dtype=torch.uint8)
    codes = ops.quantize_dithered(values, lo, hi, sign, one_level, offset[:, None], quantizer.bits)
    step = step_size(lo, hi, quantizer.bits)
    return RowCodes(codes, _half(step), _half(lo) + _half(hi), step * offset, sign)


def quantize_for_weight(
    g: Tensor,
    selection: Selection,
    quantizer: GradientQuantizer,
    rounding_key: PhiloxKey,
    phase_key: PhiloxKey,
) -> ChannelCodes:
    """Quantise kept rows of G for dL/dΘ.

    Args:
        g: float32 (N, D, *), contiguous, finite.
        selection: the rows to keep.
        quantizer: bits, clip and rounding.
        rounding_key: of the U_c, or of stochastic rounding.
        phase_key: of ε_m and κ(m).
    """
    rows = _Rows.of(selection)
    values = ops.pixel_gather(g, rows.index, rows.factor, False)
    if quantizer.rounding == "stochastic":
        bound = _magnitude(*_range(values, quantizer.clip, rows))
        codes = _stochastic(values, -bound, bound, quantizer.bits, rounding_key, rows)
        return ChannelCodes(codes, step_size(-bound, bound, quantizer.bits), -bound)
    lo, hi = _range(values, quantizer.clip, rows)
    start = selection.index.new_zeros(1)
    eighths = (ops.uniform_numbers(start, g.numel() // g.shape[1], *phase_key)[0, rows.index] * 8).to(torch.uint8)
    phase, sign = eighths // 2, (eighths % 2).to(torch.float32) * 2 - 1
    number = ops.uniform_numbers(start, g.shape[1], *rounding_key)[0]
    dither = _centred(torch.stack([_shifted(number, kappa / PHASES) for kappa in range(PHASES)], dim=1))
    codes = ops.quantize_dithered(values, lo, hi, sign, phase, dither, quantizer.bits)
    return ChannelCodes(codes, step_size(lo, hi, quantizer.bits), lo, dither, sign, phase)


def _half(values: Tensor) -> Tensor:
    return values * 0.5


def _centred(uniform: Tensor) -> Tensor:
    """Numbers in [0, 1) on a grid of 2**-24 to such between -½ and ½, symmetric about 0, all exact."""
    return (uniform - 0.5) + 2.0**-25


def _shifted(uniform: Tensor, by: float) -> Tensor:
    """``(uniform + by) mod 1``, exact on the grid of 2**-24."""
    return torch.where(uniform >= 1 - by, uniform - (1 - by), uniform + by)


def _signs(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0)


def _magnitude(lo: Tensor, hi: Tensor) -> Tensor:
    return torch.maximum(lo.abs(), hi.abs())


def _mean_square(values: Tensor, lo: Tensor, hi: Tensor, columns: _Rows | None = None) -> Tensor:
    """Mean of the squares of each row of float32 (k, m), by exact integer sums: float64 (k,).

    ``columns``: the pixel rows that the columns are; those that repeat the first one do not count.
    """
    first, second = ops.group_moments(values, 0, lo, hi)
    count = first.new_full((), values.shape[1])
    if columns is not None and columns.present is not None:
        one = ops.group_moments(values[:, :1].contiguous(), 0, lo, hi)
        repeated = columns.present.logical_not().sum()
        first, second = first - repeated * one[0], second - repeated * one[1]
        count = columns.present.sum().clamp(min=1)
    mean = first.double() / count.double()
    variance = (second.double() / count.double() - mean * mean).clamp(min=0)
    unit = divided(hi.double() - lo.double(), MOMENT_LEVELS)
    place = lo.double() + mean * unit
    return place * place + variance * (unit * unit)


def _range(values: Tensor, clip: float | None, columns: _Rows | None = None) -> tuple[Tensor, Tensor]:
    """Least and greatest element of each row of float32 (k, m), within ± clip times its root mean square.

    ``columns``: see :func:`_mean_square`.
    """
    if values.numel() == 0:
        return values.new_zeros(values.shape[0]), values.new_zeros(values.shape[0])
    lo, hi = ops.group_range(values, 0)
    if clip is None:
        return lo, hi
    bound = (clip * _mean_square(values, lo, hi, columns).sqrt()).to(torch.float32)
    return torch.clamp(lo, -bound, bound), torch.clamp(hi, -bound, bound)


def _sample_bounds(values: Tensor, sample: Tensor, present: Tensor | None, samples: int, clip: float | None) -> Tensor:
    """Largest magnitude among each sample's rows, at most clip times their root mean square: float32 (N,).

    Rows' energies are added as integers, so that the sum does not depend on its order. Of rows that repeat another one,
    which are not ``present``, neither energy nor number counts.
    """
    bound = values.new_zeros(samples)
    if values.numel() == 0:
        return bound
    lo, hi = ops.group_range(values, 0)
    bound.scatter_reduce_(0, sample, _magnitude(lo, hi), "amax")
    if clip is None:
        return bound
    energy = _mean_square(values, lo, hi)
    unit = energy.max().clamp(min=torch.finfo(torch.float64).tiny) / _ENERGY_LEVELS
    levels, one = (energy / unit).round().to(torch.int64), torch.ones_like(sample)
    if present is not None:
        levels, one = torch.where(present, levels, 0), present.to(torch.int64)
    total = torch.zeros(samples, dtype=torch.int64, device=values.device).index_add_(0, sample, levels)
    rows = torch.zeros_like(total).index_add_(0, sample, one).clamp(min=1)
    limit = clip * (total.double() / rows * unit).sqrt()
    return torch.minimum(bound, limit.to(torch.float32))


def _stochastic(
    values: Tensor, lo: Tensor, hi: Tensor, bits: int, key: PhiloxKey, columns: _Rows | None = None
) -> Tensor:
    """Codes of each row of float32 (k, m); ``columns``: see :func:`_mean_square`."""
    if values.numel() == 0:
        return values.to(torch.uint8)
    everything = torch.arange(values.shape[0], dtype=torch.int64, device=values.device)
    if columns is None or columns.present is None:
        return ops.quantize_groups(values, 0, everything, lo, hi, bits, *key)
    # A row's random numbers begin where those of rows of the kept columns alone would.
    blocks = -(-values.shape[1] // 4)
    begins = everything * torch.div(columns.present.sum() + 3, 4, rounding_mode="floor")
    block = begins[:, None] + torch.arange(blocks, dtype=torch.int64, device=values.device)
    numbers = ops.uniform_numbers(block.flatten(), 4, *key).view(len(values), 4 * blocks)
    return rounded(values, lo, hi, bits, numbers[:, : values.shape[1]])
