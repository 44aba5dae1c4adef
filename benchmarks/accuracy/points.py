"""The methods that are compared: a name, options, and what it is for. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.errors import BenchmarkError
from fqt_core.config import Method, MethodConfig


@dataclass(frozen=True)
class Point:
    """A method with options, and what it changes in how a network is trained.

    ``rates``: learning rates to choose from instead of the protocol's, where the optimiser's steps have another length.
    """

    name: str
    title: str
    method: MethodConfig
    training: dict[str, Any] = field(default_factory=dict)
    rates: tuple[float, ...] | None = None


_SGD: dict[str, Any] = {"optimizer": "sgd", "head_learning_rate": 0.03}
_SGD_RATES = (0.01, 0.03, 0.1, 0.3, 1.0)


POINTS: dict[str, Point] = {
    point.name: point
    for point in (
        Point("fp32", "full precision", Method("fp32")),
        Point("qat", "1-bit forward, full-precision gradients", Method("qat")),
        Point("psq1", "PSQ, 1 bit, min/max (the paper's baseline)", Method("psq")),
        Point("psq1-clip1", "PSQ, 1 bit, clipped at 1σ", Method("psq", clip=1.0)),
        Point("psq8", "SCQ without pruning, 8 bits", Method("psq", bits=8, weight_groups="channel")),
        Point("psq4", "SCQ without pruning, 4 bits", Method("psq", bits=4, weight_groups="channel")),
        Point("psq2", "SCQ without pruning, 2 bits", Method("psq", bits=2, weight_groups="channel")),
        Point("topk", "AGP+SCQ, largest groups, 4 bits (the authors' code)", Method("fqt", pruning="topk")),
        Point("bernoulli", "AGP+SCQ, Bernoulli, 4 bits (the paper)", Method("fqt", pruning="bernoulli")),
        Point("systematic", "AGP+SCQ, systematic, 4 bits", Method("fqt", pruning="systematic")),
        Point("b2-clip2", "AGP+SCQ, systematic, 2 bits, clipped at 2σ", Method("fqt", bits=2, clip=2.0)),
        Point(
            "pixel-dither",
            "pixel rows with dither, 2 bits, half of them",
            Method("fqt", groups="pixel", rounding="dither", bits=2, clip=2.5),
        ),
        Point("pixel", "pixel rows, 2 bits, half of them", Method("fqt", groups="pixel", bits=2, clip=2.5)),
        Point("b2-clip3", "AGP+SCQ, systematic, 2 bits, clipped at 3σ", Method("fqt", bits=2, clip=3.0)),
        Point("auto", "AGP+SCQ, chosen layer by layer, 1 bit on average", Method("fqt", bits="auto")),
        Point("auto2", "AGP+SCQ, chosen layer by layer, 2 bits on average", Method("fqt", bits="auto", budget=2.0)),
        Point(
            "auto-pixel",
            "pixel rows with dither, chosen layer by layer, 1 bit on average",
            Method("fqt", bits="auto", groups="pixel", rounding="dither"),
        ),
        Point("keep4-b8", "AGP+SCQ, a quarter of the groups at 8 bits", Method("fqt", bits=8, keep=0.25)),
        Point("keep2-b4", "AGP+SCQ, half of the groups at 4 bits", Method("fqt", bits=4, keep=0.5)),
        Point("keep2-b8", "AGP+SCQ, half of the groups at 8 bits", Method("fqt", bits=8, keep=0.5)),
        Point("keep70-b8", "AGP+SCQ, seven tenths of the groups at 8 bits", Method("fqt", bits=8, keep=0.7)),
        Point("statquant-ptq", "StatQuant, PTQ, 4 bits", Method("statquant", quantizer="ptq", bits=4)),
        Point("statquant-psq", "StatQuant, PSQ, 4 bits", Method("statquant", quantizer="psq", bits=4)),
        Point("statquant-bhq", "StatQuant, BHQ, 4 bits", Method("statquant", bits=4)),
        Point("statquant1-bhq", "StatQuant, BHQ, 4 bits, 1-bit forward", Method("statquant", bits=4, forward=1)),
        Point("unified-int8", "Unified INT8", Method("unified-int8")),
        Point("adaptive-int8", "distribution-adaptive INT8", Method("adaptive-int8")),
        Point("lsq", "LSQ, 4 bits, full-precision gradients", Method("lsq")),
        Point("lg-lsq", "LG-LSQ (experimental), 4 bits, full-precision gradients", Method("lg-lsq")),
        Point("systematic-long", "as `systematic`, 16 epochs", Method("fqt", pruning="systematic"), {"epochs": 16}),
        Point("qat-sgd", "as `qat`, by SGD", Method("qat"), _SGD, _SGD_RATES),
        Point("psq1-sgd", "as `psq1`, by SGD", Method("psq"), _SGD, _SGD_RATES),
        Point("psq8-sgd", "as `psq8`, by SGD", Method("psq", bits=8, weight_groups="channel"), _SGD, _SGD_RATES),
        Point("bernoulli-sgd", "as `bernoulli`, by SGD", Method("fqt", pruning="bernoulli"), _SGD, _SGD_RATES),
        Point("systematic-sgd", "as `systematic`, by SGD", Method("fqt", pruning="systematic"), _SGD, _SGD_RATES),
    )
}


def chosen(names: str) -> list[Point]:
    """The points of a comma-separated list, or all of them for ``all``.

    Raises:
        BenchmarkError: a name is unknown.
    """
    if names == "all":
        return list(POINTS.values())
    unknown = [name for name in names.split(",") if name not in POINTS]
    if unknown:
        raise BenchmarkError(f"method {', '.join(unknown)} is unknown; use some of {', '.join(POINTS)}, or all")
    return [POINTS[name] for name in names.split(",")]
