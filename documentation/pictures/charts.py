"""The charts. Each takes the layer of :mod:`documentation.pictures.gradient` and fills a figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import torch
from matplotlib.figure import Figure

from documentation.pictures.gradient import (
    CHANNELS,
    SAMPLES,
    Layer,
    estimate,
    extents,
    kept,
    probabilities,
)
from fqt_core.config import GradientQuantizer
from fqt_core.config.quantizer import Bits, Pruning
from fqt_core.quantizers.agp import kept_count

BITS: Bits = 4
KEEP = 1 / BITS
DRAWS = 128
_BLUE, _ORANGE, _GREY, _GREEN = "#2b5c8a", "#e08a3c", "#b8bec6", "#3f8f5b"
_COLOURS: dict[Pruning, str] = {"systematic": _ORANGE, "bernoulli": _BLUE, "topk": _GREY, "none": _GREEN}
_DRAWN: tuple[Pruning, ...] = ("systematic", "bernoulli")
_BIASED: Pruning = "topk"
_NAMES = {SAMPLES: "sample", CHANNELS: "channel"}


def quantizer(dim: int, pruning: Pruning = "systematic") -> GradientQuantizer:
    """The default of `fqt` for one of the two products."""
    return GradientQuantizer(
        "sample" if dim == SAMPLES else "channel", BITS, 1.0 if pruning == "none" else KEEP, pruning
    )


def ranges(layer: Layer) -> Figure:
    """Ranges of all groups, sorted, and the probability of keeping each."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col")
    for column, dim in enumerate((SAMPLES, CHANNELS)):
        extent, order = extents(layer.gradient, dim).sort(descending=True)
        alive = kept(layer.gradient, dim, quantizer(dim), draw=0)[order].tolist()
        colours = [_ORANGE if lives else _GREY for lives in alive]
        place = range(len(extent))
        panels[0, column].bar(place, (extent / extent.max()).tolist(), color=colours, width=0.85)
        panels[0, column].set_title(f"groups: {_NAMES[dim]}s ({len(extent)}), for ∂L/∂{'X' if dim == SAMPLES else 'Θ'}")
        chance = probabilities(extent, kept_count(len(extent), KEEP))
        panels[1, column].bar(place, chance.tolist(), color=colours, width=0.85)
        panels[1, column].axhline(KEEP, color=_BLUE, linewidth=1, linestyle="--")
        panels[1, column].set_xlabel(f"{_NAMES[dim]}s, by range")
    panels[0, 0].set_ylabel("range R, of the largest")
    panels[1, 0].set_ylabel("probability p of being kept")
    return figure


def selection(layer: Layer) -> Figure:
    """How one number picks systematically, and which samples live in each of some draws."""
    extent = extents(layer.gradient, SAMPLES)
    count = kept_count(len(extent), KEEP)
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    panels = figure.subplot_mosaic(
        [["line", "line", "line"], ["systematic", "bernoulli", "topk"]], height_ratios=[1, 2]
    )
    _line(panels["line"], probabilities(extent, count), count)
    for name in (*_DRAWN, _BIASED):
        lives = torch.stack([kept(layer.gradient, SAMPLES, quantizer(SAMPLES, name), draw) for draw in range(40)])
        by_range = lives[:, extent.argsort(descending=True)]
        counts = lives.sum(1)
        axes = panels[name]
        axes.imshow(by_range.numpy(), aspect="auto", cmap=_two(_ORANGE), interpolation="nearest")
        least, most = int(counts.min()), int(counts.max())
        axes.set_title(f"{name}: keeps {least if least == most else f'{least} to {most}'} of {len(extent)}")
        axes.set_xlabel("samples, by range")
    panels["systematic"].set_ylabel("draw")
    return figure


def _line(axes: Any, chance: torch.Tensor, count: int) -> None:
    """Segments of length p beside each other, and a comb of picks that one number places."""
    u = 0.37
    left = 0.0
    for length in chance.tolist():
        right = left + length
        hit = int(right - u + 1) > int(left - u + 1)
        axes.barh(0, length, left=left, color=_ORANGE if hit else _GREY, edgecolor="white", linewidth=0.6)
        left = right
    for pick in range(count):
        axes.axvline(u + pick, color=_BLUE, linewidth=1.4)
    axes.set_yticks([])
    axes.set_xlim(0, count)
    axes.set_title("systematic: samples as segments of length p; one number places all picks, a unit apart")


def quantising(layer: Layer) -> Figure:
    """Values of a sample's gradient on the levels of 2 and 4 bits, and what rounding makes of a value on average."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    sample = int(extents(layer.gradient, SAMPLES).argmax())
    g = layer.gradient[sample : sample + 1]
    values = g.flatten().numpy()
    left.hist(values, bins=120, color=_GREY, log=True)
    for bits, colour, top in ((2, _BLUE, 0.5), (4, _ORANGE, 0.3)):
        for number, level in enumerate(numpy.linspace(values.min(), values.max(), 2**bits)):
            left.axvline(
                level, ymax=top, color=colour, linewidth=1.2, label=f"{2**bits} levels" if not number else None
            )
    left.legend(frameon=False)
    left.set_title("one sample's gradient, and the levels of 2 and 4 bits")
    left.set_ylabel("elements")
    plain = GradientQuantizer("sample", 2)
    draws = numpy.stack([estimate(g, SAMPLES, plain, draw).flatten().numpy() for draw in range(DRAWS)])
    chosen = values.argsort()[:: max(1, len(values) // 400)]
    step = (values.max() - values.min()) / 3
    nearest = ((values - values.min()) / step).round() * step + values.min()
    right.scatter(values[chosen], draws[0, chosen], s=5, color=_GREY, label="one draw")
    right.scatter(values[chosen], nearest[chosen], s=5, color=_BLUE, label="rounded to the nearest")
    right.scatter(values[chosen], draws.mean(0)[chosen], s=5, color=_ORANGE, label=f"mean of {DRAWS} draws")
    right.set_title("2 bits, stochastic rounding")
    right.set_xlabel("g")
    right.set_ylabel("ĝ")
    right.legend(frameon=False, markerscale=2)
    return figure


def pruned(layer: Layer) -> Figure:
    """G and its two estimates in one step, as samples by channels (mean over pixels of each)."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    g = layer.gradient
    shown = {
        "G: every sample and channel": g,
        "for ∂L/∂X: a quarter of the samples": estimate(g, SAMPLES, quantizer(SAMPLES), 0),
        "for ∂L/∂Θ: a quarter of the channels": estimate(g, CHANNELS, quantizer(CHANNELS), 0),
    }
    for axes, (title, tensor) in zip(panels, shown.items(), strict=True):
        flat = tensor.flatten(2).mean(2)
        bound = float(flat.abs().quantile(0.99)) or 1.0
        axes.imshow(flat.numpy(), cmap="RdBu", vmin=-bound, vmax=bound, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("channels")
    panels[0].set_ylabel("samples")
    return figure


def distances(layer: Layer, pruning: Pruning, counts: list[int]) -> list[float]:
    """‖mean of n draws - G‖ / ‖G‖ for some n, for groups of samples."""
    mean = torch.zeros_like(layer.gradient)
    found = []
    for draw in range(max(counts)):
        mean += estimate(layer.gradient, SAMPLES, quantizer(SAMPLES, pruning), draw)
        if draw + 1 in counts:
            found.append(float((mean / (draw + 1) - layer.gradient).norm() / layer.gradient.norm()))
    return found


def shares(layer: Layer, pruning: Pruning, draws: int = DRAWS) -> list[float]:
    """⟨ĝ, G⟩ / ‖G‖² of some draws, for groups of samples: 1 on average if the estimate is unbiased."""
    direction = layer.gradient / layer.gradient.square().sum()
    chosen = quantizer(SAMPLES, pruning)
    return [float((estimate(layer.gradient, SAMPLES, chosen, draw) * direction).sum()) for draw in range(draws)]


def unbiased(layer: Layer) -> Figure:
    """How the mean of n draws comes to G, or does not; and the mean of one element's draws."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = [2**power for power in range(DRAWS.bit_length())]
    for name, colour in _COLOURS.items():
        left.loglog(counts, distances(layer, name, counts), "o-", color=colour, markersize=4, label=name)
    left.set_xlabel("draws n")
    left.set_ylabel("‖mean of n draws - G‖ / ‖G‖")
    left.set_title("unbiased estimates come to G as 1/√n")
    left.legend(frameon=False)
    for name in _DRAWN:
        draws = shares(layer, name)
        right.hist(draws, bins=30, color=_COLOURS[name], alpha=0.7, label=f"{name}: mean {sum(draws) / len(draws):.2f}")
    [always] = set(shares(layer, _BIASED, draws=1))
    right.axvline(always, color=_GREY, linewidth=3, label=f"topk, always: {always:.2f}")
    right.axvline(1, color="black", linewidth=1)
    right.set_xlabel("⟨ĝ, G⟩ / ‖G‖²")
    right.set_ylabel("draws")
    right.set_title("how much of G a draw has")
    right.legend(frameon=False)
    return figure


def _two(colour: str) -> Any:
    from matplotlib.colors import ListedColormap  # noqa: PLC0415

    return ListedColormap(["#f1f3f5", colour])


CHARTS: dict[str, Callable[[Layer], Figure]] = {
    "agp-ranges.png": ranges,
    "agp-selection.png": selection,
    "scq-levels.png": quantising,
    "agp-pruned.png": pruned,
    "agp-unbiased.png": unbiased,
}
"""Charts by the names of their files."""
