"""Figures of a report in words."""

from __future__ import annotations

from fqt_client.cli.output import figure_text, share_text
from fqt_client.reports import Spread, SweepReport


def metric_title(report: SweepReport) -> str:
    """What the metric is called."""
    return report.metric.replace("_", " ")


def spread_text(spread: Spread | None, *, is_share: bool) -> str:
    """Mean and deviation; of shares as per cent."""
    if spread is None:
        return "–"
    if is_share:
        mean = share_text(spread.mean)
        return mean if spread.deviation is None else f"{mean.removesuffix(' %')} ± {share_text(spread.deviation)}"
    mean = figure_text(spread.mean)
    return mean if spread.deviation is None else f"{mean} ± {figure_text(spread.deviation)}"


def count_text(count: int) -> str:
    """A large count for people: `2.72 G`."""
    for size, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g} {prefix}"
    return str(count)


def joules_text(joules: float) -> str:
    """An energy for people: `6.37 mJ`."""
    for size, unit in ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")):
        if joules >= size:
            return f"{joules / size:.3g} {unit}"
    return f"{joules / 1e-9:.3g} nJ"
