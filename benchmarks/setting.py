"""What is measured: a network, its images, and how many of them on how many threads. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from benchmarks.accuracy.points import POINTS
from benchmarks.errors import BenchmarkError
from fqt_core.config import ARCHITECTURES, METHODS, ArchitectureConfig, Method, MethodConfig, TrainConfig

CLASSES = 10
LARGEST_SMALL_IMAGE = 64
"""Larger images get the published network's stem, which starts by lowering the resolution."""

SIDES = ("torch-fp32", "torch-bf16")
"""The baselines."""

LIMITS = {"avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}}
"""By instruction set of our kernels: the environment that holds PyTorch, oneDNN and MKL to the same one."""

_SHORT = {"int8": "unified-int8"}
_BITS = re.compile(r"(?P<name>[a-z]+?)-?b?(?P<bits>\d+)")


@dataclass(frozen=True)
class Setting:
    """One configuration. ``isa`` as in ``FQT_ISA``."""

    model: str
    image_size: int
    batch: int
    threads: int = 1
    isa: str = "auto"

    def __post_init__(self) -> None:
        if self.model not in ARCHITECTURES:
            raise BenchmarkError(f"model {self.model!r} is unknown; use one of {', '.join(sorted(ARCHITECTURES))}")
        _ = self.architecture, self.training

    @property
    def architecture(self) -> ArchitectureConfig:
        """The network, in RGB."""
        stem = "small" if self.image_size <= LARGEST_SMALL_IMAGE else "imagenet"
        row = ARCHITECTURES[self.model]
        options = {"stem": stem} if "stem" in row.model_fields else {}
        return row.model_validate({"name": self.model, "image_size": self.image_size, **options})

    @property
    def training(self) -> TrainConfig:
        """How a job trains: the defaults."""
        return TrainConfig(batch_size=self.batch)

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)

    def title(self) -> str:
        """For people."""
        return f"{self.model}, {self.image_size} pixels, batches of {self.batch}, threads: {self.threads}"


def parse_method(text: str) -> MethodConfig:
    """A method by name, perhaps with bits: ``fqt``, ``fqt2`` or ``fqt-b2``, ``psq8``, ``qat``, ``fp32``.

    Names of :data:`benchmarks.accuracy.points.POINTS` are taken as well, e.g. ``keep2-b8``; ``int8`` is
    ``unified-int8``.

    With bits, ``psq`` has one scale per channel for the weight gradient, so that its products run in integers.

    Raises:
        BenchmarkError: no such method.
    """
    try:
        if text in METHODS or text in _SHORT:
            return Method(_SHORT.get(text, text))
        match = _BITS.fullmatch(text)
        if match and match["name"] in METHODS:
            options: dict[str, Any] = {"weight_groups": "channel"} if match["name"] == "psq" else {}
            return Method(match["name"], bits=int(match["bits"]), **options)
        if text in POINTS:
            return POINTS[text].method
    except ValidationError as error:
        raise BenchmarkError(f"method {text!r}: {error.errors()[0]['msg']}") from error
    raise BenchmarkError(f"method {text!r} is unknown; use one of {', '.join(METHODS)}, or fqt and psq with bits: psq8")
