"""What all charts have in common: a figure to draw on, and its file. matplotlib is only loaded to draw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 160


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches.

    Raises:
        BenchmarkError: there is nothing to draw with.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise BenchmarkError(f"matplotlib is missing ({error}); `make bench` installs it") from error
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write it as PNG, SVG or PDF by the file's name, its folder included.

    Raises:
        BenchmarkError: the name ends in something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(path, dpi=_DPI)
    except ValueError as error:
        raise BenchmarkError(f"{path}: {error}") from error
