"""Draws the pictures anew: ``python -m documentation.pictures`` (after ``make bench``, which installs matplotlib)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from documentation.pictures.charts import CHARTS
from documentation.pictures.gradient import train

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
_DPI = 110


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="documentation.pictures", description="Draw the pictures of the methods.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder of the pictures")
    folder: Path = parser.parse_args(arguments).out
    folder.mkdir(parents=True, exist_ok=True)
    layer = train()
    for name, chart in CHARTS.items():
        chart(layer).savefig(folder / name, dpi=_DPI, metadata={"Software": None})
        sys.stdout.write(f"{folder / name}\n")
    sys.stdout.write(f"The network that they show has {layer.correct:.1%} of unseen digits right.\n")


if __name__ == "__main__":
    main()
