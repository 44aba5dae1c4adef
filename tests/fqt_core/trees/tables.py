"""Small tables to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fqt_core.config.table import TableConfig
from fqt_core.trees.problem import Problem, pose
from fqt_core.trees.table import Column, Table, read_table


def shops(path: Path, rows: int = 600, seed: int = 0) -> Path:
    """A CSV file: numbers, truth values, words, gaps. The targets ``grade`` (words) and ``price`` follow from it."""
    draw = np.random.default_rng(seed)
    size, stars, open_, noise = (
        draw.normal(size=rows),
        draw.integers(0, 5, rows),
        draw.random(rows) < 0.5,
        draw.normal(size=rows),
    )
    price = 2 * size + stars + 0.1 * noise
    grade = np.where(price > 3, "good", np.where(price > 1, "fair", "poor"))
    lines = ["size,town,open,price,grade"]
    for number in range(rows):
        shown = "" if number % 17 == 0 else f"{size[number]:.5f}"
        truth = "true" if open_[number] else "false"
        lines.append(f"{shown},town {stars[number]},{truth},{price[number]:.5f},{grade[number]}")
    path.write_text("\n".join(lines) + "\n")
    return path


def problem(path: Path, target: str = "grade", fraction: float = 0.25) -> Problem:
    """What is learned from :func:`shops`; of grade and price only the target is shown."""
    other = "price" if target == "grade" else "grade"
    return pose(read_table(path), TableConfig(target=target, ignore=(other,)), validation_fraction=fraction, seed=1)


def numbers(features: np.ndarray, labels: np.ndarray) -> Problem:
    """All rows train; labels are 0 and 1, or values."""
    columns = {f"x{n}": Column(f"x{n}", "number", features[:, n]) for n in range(features.shape[1])}
    target = Column("y", "number", labels.astype(np.float64))
    return pose(
        Table("csv", len(labels), {**columns, "y": target}), TableConfig(target="y"), validation_fraction=0, seed=0
    )
