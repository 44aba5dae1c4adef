"""Files of results: JSON lists of objects, one object per figure that a reader may look for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError

FOLDER = Path(__file__).resolve().parent / "results"

Row = dict[str, Any]


class _Kind(StrEnum):
    """What made a row: the value is a field that only its rows have, but for ``model``, which comes last."""

    SERVICE = "part"
    COMPARE = "question"
    ACCURACY = "protocol"
    KERNEL = "operation"
    INFERENCE = "file_bytes"
    GPU = "gpu"
    THREADS = "kept"
    STEP = "model"


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows to a file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2) + "\n")


def read(paths: Iterable[Path]) -> list[Row]:
    """The rows of all files, in their order.

    Raises:
        BenchmarkError: a file holds something else.
    """
    rows: list[Row] = []
    for path in paths:
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise BenchmarkError(f"{path} is not JSON: {error}") from error
        if not isinstance(found, list) or not all(isinstance(row, dict) and _kind(row) for row in found):
            raise BenchmarkError(f"{path} holds no results")
        rows += found
    return rows


def _kind(row: Row) -> _Kind | None:
    return next((kind for kind in _Kind if kind in row), None)


def of_steps(rows: Iterable[Row]) -> list[Row]:
    """The rows of :mod:`benchmarks.step`."""
    return [row for row in rows if _kind(row) is _Kind.STEP]


def of_inference(rows: Iterable[Row]) -> list[Row]:
    """The rows of :mod:`benchmarks.inference`."""
    return [row for row in rows if _kind(row) is _Kind.INFERENCE]


def of_kernels(rows: Iterable[Row]) -> list[Row]:
    """The rows of :mod:`benchmarks.kernels`."""
    return [row for row in rows if _kind(row) is _Kind.KERNEL]


def of_gpus(rows: Iterable[Row]) -> list[Row]:
    """The rows of :mod:`benchmarks.gpu`."""
    return [row for row in rows if _kind(row) is _Kind.GPU]


def of_threads(rows: Iterable[Row]) -> list[Row]:
    """The rows of :mod:`benchmarks.threads`."""
    return [row for row in rows if _kind(row) is _Kind.THREADS]


def of_accuracy(rows: Iterable[Row]) -> list[Row]:
    """The rows of :mod:`benchmarks.accuracy`."""
    return [row for row in rows if _kind(row) is _Kind.ACCURACY]


def of_service(rows: Iterable[Row]) -> list[Row]:
    """The rows of :mod:`benchmarks.service`."""
    return [row for row in rows if _kind(row) is _Kind.SERVICE]


def title(row: Row) -> str:
    """What a row of :mod:`benchmarks.step` or :mod:`benchmarks.inference` measured, for people."""
    threads = f", {row['threads']} threads" if row["threads"] > 1 else ""
    return f"{row['model']} {row['image_size']}x{row['image_size']}, batch {row['batch']}{threads}, {row['method']}"


def machine(rows: Iterable[Row], between: str = "; ") -> str:
    """Where rows were measured, for people."""
    return between.join(sorted({f"{row['cpu']}, PyTorch {row['torch']}" for row in rows}))


def stored() -> list[Path]:
    """The files of the last ``make bench`` and of the comparisons of accuracy, by name."""
    return sorted(FOLDER.glob("*.json"))
