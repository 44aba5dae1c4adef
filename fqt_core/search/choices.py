"""The rules of neural channel expansion, apart from any network: costs, expansion, and what is chosen at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from fqt_core.config.plan import LayerPlan

TOLERANCE = 0.05
"""Share of a budget that may be left without a loss."""

Counts = tuple[int, int]
"""Multiply-accumulates and parameters."""


def interpolate(x: Tensor, channels: int) -> Tensor:
    """Channel-wise interpolation (CWI): (N, c, H, W) to (N, ``channels``, H, W), c <= ``channels``.

    Output channel i is the mean of the input channels from ⌊i c / C⌋ to ⌈(i + 1) c / C⌉, as adaptive pooling does it.
    """
    if x.shape[1] == channels:
        return x
    return torch.einsum("nchw,cd->ndhw", x, _shares(x.shape[1], channels).to(x.device))


@lru_cache(maxsize=1024)
def _shares(channels: int, wanted: int) -> Tensor:
    """(c, C): what each output channel takes of each input channel."""
    return functional.adaptive_avg_pool1d(torch.eye(channels), wanted)


def mixed(outputs: Sequence[Tensor], scores: Tensor) -> Tensor:
    """Ô = Σ_j softmax(α)_j · CWI(O_j, C): outputs (N, c_j, H, W) of the sampled choices, C the greatest c_j."""
    channels = max(output.shape[1] for output in outputs)
    parts = [interpolate(output, channels) for output in outputs]
    shares = torch.softmax(scores, 0)
    return torch.stack([share * part for share, part in zip(shares, parts, strict=True)]).sum(0)


@dataclass(frozen=True)
class CostModel:
    """Multiply-accumulates and parameters of a chain of convolutions with a linear head, as polynomials of its widths.

    Of layer l with widths e_{l-1} and e_l: ``pairs[l]`` (macs, parameters) per pair of channels and ``singles[l]`` per
    output channel; the last entry is the head's, whose width is one. ``inputs``: channels of the images; ``constant``:
    parameters that no width changes.
    """

    inputs: int
    pairs: tuple[Counts, ...]
    singles: tuple[Counts, ...]
    constant: int

    @classmethod
    def of(cls, layers: LayerPlan) -> CostModel:
        """Read from a plan of the network at any widths."""
        pairs: list[Counts] = []
        singles: list[Counts] = []
        constant = 0
        for layer in layers:
            if layer.kind == "conv2d":
                area = layer.kernel_size**2
                pairs.append((area * layer.output_size**2, area))
                singles.append((0, int(layer.bias)))
            elif layer.kind == "batch_norm":
                singles[-1] = (0, singles[-1][1] + 2)
            elif layer.kind == "linear":
                per_channel = layer.weights // singles_width(layers)
                pairs.append((per_channel, per_channel))
                constant = layer.out_channels
        return cls(layers[0].in_channels, tuple(pairs), tuple(singles), constant)

    def expected(self, widths: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Expected counts for expected widths: exact, for layers are chosen independently of each other."""
        ends = [torch.tensor(float(self.inputs)), *widths, torch.tensor(1.0)]
        macs = torch.tensor(0.0)
        parameters = torch.tensor(float(self.constant))
        for place, (pair, before) in enumerate(zip(self.pairs, ends, strict=False)):
            both = before * ends[place + 1]
            macs, parameters = macs + pair[0] * both, parameters + pair[1] * both
        for single, width in zip(self.singles, widths, strict=True):
            parameters = parameters + single[1] * width
        return macs, parameters


def singles_width(layers: LayerPlan) -> int:
    """Channels of the last convolution."""
    return next(layer.out_channels for layer in reversed(layers) if layer.kind == "conv2d")


def budget_loss(expected: Sequence[Tensor], budgets: Sequence[float]) -> Tensor:
    """log(E / B) of each expected count E above its budget B; -log(E / B) of the fullest, if all are well below theirs.

    The second part is TAS's: without it networks that are narrow, and learn sooner, win over those that use what they
    may.
    """
    shares = torch.stack([count / budget for count, budget in zip(expected, budgets, strict=True)])
    fullest = shares.max()
    if fullest < 1 - TOLERANCE:
        return -torch.log(fullest)
    return torch.relu(torch.log(shares)).sum()


def expands(probabilities: Sequence[float], active: int, most: int, threshold: float) -> bool:
    """Whether a layer gets a wider choice: its widest one is preferred, and there is another.

    ``active``: choices that it has; ``most``: choices that it may ever have.
    """
    return active < most and probabilities[active - 1] > threshold


def settle(
    choices: Sequence[Sequence[int]],
    probabilities: Sequence[Sequence[float]],
    counts: Callable[[list[int]], Counts],
    budgets: tuple[float, float],
) -> list[int] | None:
    """One width per layer: the most probable ones, as far as both budgets allow, and wider where they leave room.

    While a budget is exceeded, the step to the next narrower width of one layer is taken that loses least
    log-probability for what it saves of the excess. Then widths go up as far as they fit, each time the step of the
    greatest gain, or least loss, of log-probability.

    Args:
        choices: of each layer its widths, ascending.
        probabilities: of each layer those of its widths.
        counts: multiply-accumulates and parameters of the network with these widths.
        budgets: the most of both.

    Returns:
        The widths; ``None`` if the narrowest network does not fit either.
    """
    at = [max(range(len(each)), key=each.__getitem__) for each in probabilities]
    logs = [[math.log(max(value, 1e-30)) for value in each] for each in probabilities]

    def excess(places: Sequence[int]) -> float:
        found = counts([choices[layer][place] for layer, place in enumerate(places)])
        return sum(max(0.0, count / budget - 1) for count, budget in zip(found, budgets, strict=True))

    def moved(layer: int, by: int) -> list[int]:
        return [place + by * (number == layer) for number, place in enumerate(at)]

    over = excess(at)
    while over > 0:
        moves = [(layer, excess(moved(layer, -1))) for layer, place in enumerate(at) if place > 0]
        if not moves:
            return None
        prices = {
            layer: (logs[layer][at[layer]] - logs[layer][at[layer] - 1]) / max(over - left, 1e-12)
            for layer, left in moves
        }
        layer = min(prices, key=prices.__getitem__)
        at[layer] -= 1
        over = dict(moves)[layer]
    while True:
        gains = {
            layer: logs[layer][place + 1] - logs[layer][place]
            for layer, place in enumerate(at)
            if place + 1 < len(choices[layer]) and excess(moved(layer, 1)) == 0
        }
        if not gains:
            return [choices[layer][place] for layer, place in enumerate(at)]
        at[max(gains, key=gains.__getitem__)] += 1
