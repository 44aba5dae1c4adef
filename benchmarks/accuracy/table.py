"""Rows of a comparison as a table in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.accuracy.points import POINTS
from benchmarks.results import Row
from benchmarks.table import markdown

_HEAD = (
    "net",
    "method",
    "arithmetic",
    "learning rate",
    "validation",
    "test",
    "gap to QAT",
    "CPU seconds",
    "seeds",
    "as jobs",
)


@dataclass(frozen=True)
class Summary:
    """One method on one network at its chosen learning rate; accuracies and ``gap`` to QAT in percent points."""

    protocol: str
    net: str
    method: str
    arithmetic: str
    learning_rate: float
    validation: float
    tests: tuple[float, ...]
    gap: float | None
    cpu_seconds: float
    as_jobs: str

    @property
    def test(self) -> float:
        """Mean test accuracy."""
        return statistics.mean(self.tests)

    @property
    def deviation(self) -> float:
        """Standard deviation of the test accuracy over seeds, 0 for one seed."""
        return statistics.stdev(self.tests) if len(self.tests) > 1 else 0.0


def summaries(rows: Iterable[Row]) -> list[Summary]:
    """Of the rows with a test accuracy, in their order. A gap is a mean over seeds that both methods have."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row["test"] is not None:
            groups.setdefault((row["protocol"], row["net"], row["method"]), []).append(row)
    return [
        Summary(
            *key,
            arithmetic=group[0]["arithmetic"],
            learning_rate=group[0]["learning_rate"],
            validation=100 * statistics.mean(row["val"] for row in group),
            tests=tuple(100 * row["test"] for row in group),
            gap=_gap(group, groups.get((*key[:2], "qat"), [])),
            cpu_seconds=statistics.median(row["cpu_seconds"] for row in group),
            as_jobs=_as_jobs(group),
        )
        for key, group in groups.items()
    ]


def _gap(rows: Sequence[Row], qat: Sequence[Row]) -> float | None:
    ceiling = {row["seed"]: row["test"] for row in qat}
    gaps = [100 * (ceiling[row["seed"]] - row["test"]) for row in rows if row["seed"] in ceiling]
    return statistics.mean(gaps) if gaps else None


def _as_jobs(rows: Sequence[Row]) -> str:
    """Whether the service's jobs made the very weights, or else their test accuracy; empty if they did not run."""
    if any("job_test" not in row for row in rows):
        return ""
    if all(row["job_same_weights"] for row in rows):
        return "same weights"
    return f"{100 * statistics.mean(row['job_test'] for row in rows):.1f}"


def render(rows: Iterable[Row]) -> str:
    """The table."""
    lines = []
    for one in summaries(rows):
        title = POINTS[one.method].title if one.method in POINTS else one.method
        lines.append(
            (
                one.net,
                f"`{one.method}`: {title}",
                one.arithmetic,
                f"{one.learning_rate:g}",
                f"{one.validation:.1f}",
                f"{one.test:.1f} ± {one.deviation:.1f}" if len(one.tests) > 1 else f"{one.test:.1f}",
                "" if one.gap is None else f"{one.gap:.1f}",
                f"{one.cpu_seconds:.0f}",
                str(len(one.tests)),
                one.as_jobs,
            )
        )
    return markdown(_HEAD, lines, 3)
