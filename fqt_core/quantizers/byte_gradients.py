"""How methods that multiply bytes quantise a layer's gradient: one module per method, whose buffers are its memory.

Both products have their codes: that for dL/dX sums over channels and takes (N, H', W', D), that for dL/dW sums over
samples and pixels and takes (D, N, H', W'). A code stands for ``offset + scale · code``, with a scale (and offset) per
sample or channel, or one for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fqt_core import ops
from fqt_core.config import AdaptiveInt8, MethodConfig, StatQuant, UnifiedInt8
from fqt_core.ops.selection import step_size
from fqt_core.quantizers.householder import HouseholderBlocks
from fqt_core.quantizers.scq import GroupRanges
from fqt_core.quantizers.symmetric import scale_of, signed, stochastic
from fqt_core.random import PhiloxKey, PhiloxState, Purpose

_SAMPLES, _CHANNELS = 0, 1
_SEARCHED_ELEMENTS = 1 << 16
_CLIPS = 20
_PLACES = 2.0**23  # sums of 2**16 products with 127 fit float64, of 2**16 squares int64

Keys = Callable[[Purpose], PhiloxKey]


@dataclass(frozen=True)
class ByteCodes:
    """int8 codes of a gradient. ``offset``: ``None`` if there is none; ``blocks``: how rows were mixed, if so."""

    codes: Tensor
    scale: Tensor
    offset: Tensor | None = None
    blocks: HouseholderBlocks | None = None


class ByteGradient(nn.Module):
    """Base: quantises one layer's gradients.

    No value decides what is computed, so that nothing waits for a GPU. There gradients may come that are not finite;
    buffers then keep what they hold.
    """

    def quantize(self, g: Tensor, state: PhiloxState, keys: Keys) -> tuple[Callable[[], ByteCodes], ByteCodes]:
        """Codes for dL/dX, made on demand, and for dL/dW.

        Args:
            g: float32 (N, D, H', W'), contiguous, not empty.
            state: where the run stands.
            keys: of this layer's random numbers.
        """
        raise NotImplementedError


class UnifiedGradient(ByteGradient):
    """Direction-sensitive clipping and deviation-counteractive learning rates.

    ``d(g, ĝ) = 1 - cos(g, ĝ)``. The clip is the one of 20 even shares of max |g| with the least d, searched every so
    many steps on at most 65,536 evenly spread elements, with rounding to nearest; between searches the share is kept.
    The learning rate of the layer is multiplied by ``max(exp(-rate_decay · d), least_rate)``. Both products take the
    same codes.

    Buffers: ``share``, float32 (), 0 before the first search; ``deviation``, float32 (), d of that share.
    """

    share: Tensor
    deviation: Tensor

    def __init__(self, method: UnifiedInt8) -> None:
        super().__init__()
        self.method = method
        self.register_buffer("share", torch.zeros(()))
        self.register_buffer("deviation", torch.zeros(()))
        self._first_step: int | None = None

    def quantize(self, g: Tensor, state: PhiloxState, keys: Keys) -> tuple[Callable[[], ByteCodes], ByteCodes]:
        """See :class:`ByteGradient`."""
        most = scale_of(g) * 127
        due = state.step % self.method.search_every == 0 and state.stream == 0
        # Whether there is a share only the GPU knows, but after the first step there must be one.
        if self._first_step is None:
            self._first_step = state.step
        if due or state.step == self._first_step:
            share, deviation = best_share(g)
            wanted = torch.isfinite(most) & ((self.share == 0) | due)
            self.share.copy_(torch.where(wanted, share, self.share))
            self.deviation.copy_(torch.where(wanted, deviation, self.deviation))
        codes, scale = stochastic(g, (most * self.share).view(1), _SAMPLES, keys(Purpose.INPUT_ROUNDING))
        return lambda: ByteCodes(codes, scale), ByteCodes(codes.movedim(-1, 0).contiguous(), scale)

    def rate_factor(self, deviation: float) -> float:
        """What the layer's learning rate is multiplied by."""
        return max(math.exp(-self.method.rate_decay * deviation), self.method.least_rate)

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        self._first_step = None


def best_share(g: Tensor) -> tuple[Tensor, Tensor]:
    """The share of max |g| to clip at that turns g the least, and d of it; (1, 0) for a gradient of zeros.

    Every sum is one of integers, so that all devices find the same: for d, g counts in steps of max |g| · 2**-23.

    Args:
        g: float32, not empty.

    Returns:
        float64 () each; of no use if g is not finite.
    """
    flat = g.flatten()
    sample = flat[:: -(-len(flat) // _SEARCHED_ELEMENTS)].double()
    most = sample.abs().max()
    places = (sample / most * _PLACES).round_()
    square = (places * places).to(torch.int64).sum().double()
    found = []
    for number in range(1, _CLIPS + 1):
        rounded = (sample / (most * (number / _CLIPS / 127))).round_().clamp_(-127, 127)
        found.append(1 - (places * rounded).sum() / (square.sqrt() * (rounded * rounded).sum().sqrt()))
    deviations = torch.stack(found).clamp_(min=0)
    numbers = torch.arange(1, _CLIPS + 1, device=g.device)
    best = torch.where(deviations == deviations.min(), numbers, _CLIPS).min()  # of equals the least
    shares = torch.stack([torch.full_like(most, number / _CLIPS) for number in range(1, _CLIPS + 1)])
    some = most > 0
    return torch.where(some, shares.take(best - 1), 1.0), torch.where(some, deviations.take(best - 1), 0.0)


class AdaptiveGradient(ByteGradient):
    """Magnitude-aware clipping by distribution, per channel for dL/dW and for the whole tensor for dL/dX.

    A group of values is Gaussian if ``P(|g| > σ)`` is above a threshold (of a normal distribution it is 0.317) and is
    then clipped nowhere. Else its distribution is an inverted T, and ``s ← (1 - A) · s + A · max |g|``, s beginning at
    the first max |g|.

    Buffers: ``clip``, float32 (1,), and ``channel_clip``, float32 (D,): s, 0 before the first gradient.
    """

    clip: Tensor
    channel_clip: Tensor

    def __init__(self, method: AdaptiveInt8, outputs: int) -> None:
        super().__init__()
        self.method = method
        self.register_buffer("clip", torch.zeros(1))
        self.register_buffer("channel_clip", torch.zeros(outputs))

    def quantize(self, g: Tensor, state: PhiloxState, keys: Keys) -> tuple[Callable[[], ByteCodes], ByteCodes]:
        """See :class:`ByteGradient`."""
        del state
        channels = g.transpose(0, 1).flatten(1)
        bound = self._bound(g.reshape(1, -1), self.clip)
        bounds = self._bound(channels, self.channel_clip)
        weight = ByteCodes(*stochastic(g, bounds, _CHANNELS, keys(Purpose.WEIGHT_ROUNDING)))
        return lambda: ByteCodes(*stochastic(g, bound, _SAMPLES, keys(Purpose.INPUT_ROUNDING))), weight

    def _bound(self, groups: Tensor, memory: Tensor) -> Tensor:
        """Where each row of float32 (groups, elements) is clipped; ``memory`` moves on."""
        magnitude = groups.abs()
        most = magnitude.amax(1)
        deviation = groups.std(1, correction=0)
        gaussian = (magnitude > deviation[:, None]).float().mean(1) > self.method.gaussian_share
        moved = memory + self.method.clip_update * (most - memory)
        bound = torch.where(gaussian | (memory == 0), most, moved)
        memory.copy_(torch.where(torch.isfinite(bound), bound, memory))  # where nobody looked whether g is finite
        return memory.clone()


class StatQuantGradient(ByteGradient):
    """PTQ, PSQ or BHQ at some bits for dL/dX; PTQ at 8 bits for dL/dW. All are affine: ``lo + Δ · q``."""

    def __init__(self, method: StatQuant) -> None:
        super().__init__()
        self.method = method

    def quantize(self, g: Tensor, state: PhiloxState, keys: Keys) -> tuple[Callable[[], ByteCodes], ByteCodes]:
        """See :class:`ByteGradient`."""
        del state
        weight = affine(g, GroupRanges.scan(g, _CHANNELS).joined(), 8, keys(Purpose.WEIGHT_ROUNDING))
        return lambda: self._for_input(g, keys(Purpose.INPUT_ROUNDING)), weight

    def _for_input(self, g: Tensor, key: PhiloxKey) -> ByteCodes:
        ranges = GroupRanges.scan(g, _SAMPLES)
        blocks = None
        if self.method.quantizer == "ptq":
            ranges = ranges.joined()
        elif self.method.quantizer == "bhq":
            blocks = HouseholderBlocks.of(ranges.hi - ranges.lo)
            g = blocks.mix(g)
            ranges = GroupRanges.scan(g, _SAMPLES)
        found = affine(g, ranges, self.method.bits, key)
        return ByteCodes(found.codes, found.scale, found.offset, blocks)


def affine(g: Tensor, ranges: GroupRanges, bits: int, key: PhiloxKey) -> ByteCodes:
    """Affine codes with the given ranges, at 2 to 8 bits, see :mod:`fqt_core.quantizers.stochastic`."""
    everything = torch.arange(len(ranges.lo), dtype=torch.int64, device=g.device)
    lo, hi = ranges.lo.contiguous(), ranges.hi.contiguous()
    codes = ops.quantize_groups(g, ranges.dim, everything, lo, hi, bits, *key)
    scale = step_size(lo, hi, bits)
    if bits < 8:
        return ByteCodes(codes.view(torch.int8), scale, lo)
    return ByteCodes(signed(codes), scale, lo + 128 * scale)


def byte_gradient(method: MethodConfig, outputs: int) -> ByteGradient:
    """The quantiser of a layer with ``outputs`` channels."""
    if isinstance(method, UnifiedInt8):
        return UnifiedGradient(method)
    if isinstance(method, AdaptiveInt8):
        return AdaptiveGradient(method, outputs)
    assert isinstance(method, StatQuant)
    return StatQuantGradient(method)
