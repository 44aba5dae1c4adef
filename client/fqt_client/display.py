"""How things look in a notebook: HTML and SVG without scripts, Markdown tables. All text from elsewhere is escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from fqt_client.errors import FqtClientError

if TYPE_CHECKING:
    from fqt_client.comparison import ComparedJob, Comparison
    from fqt_client.models import Job, Series
    from fqt_client.sweeps import Sweep, Trial

Line = tuple[str, list[tuple[float, float]]]
"""A name and the points (x, y) of its curve."""

WIDTH, HEIGHT = 320, 140
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 8, 20, 20
MOST_PLOTS = 12
_COLOURS = ("#3b6fd4", "#d4703b", "#2a8a4a", "#8e5bc0", "#b7791f", "#1b9aaa", "#c0396b", "#6b7280")
_STATE_COLOURS = {
    "succeeded": "#2a8a4a",
    "finished": "#2a8a4a",
    "running": "#3b6fd4",
    "failed": "#c0392b",
    "cancelled": "#b7791f",
}
_CURVES = (("loss", ("loss", "train_loss")), ("accuracy", ("validation_accuracy",)))


def job_html(job: Job) -> str:
    """A job as a notebook shows it: its state, how far it is, what went wrong, and its curves."""
    parts = [_title(job.name, job.id, job.state, _told(job))]
    progress = job.progress
    if progress is not None and progress.total_steps:
        parts.append(_bar(progress.step, progress.total_steps, "steps"))
    if job.error is not None:
        what = f"{job.error.param}: {job.error.message}" if job.error.param else job.error.message
        parts.append(f'<div style="color:{_STATE_COLOURS["failed"]}">{escape(what)}</div>')
    return "".join([*parts, _curves_html(job)])


def sweep_html(sweep: Sweep) -> str:
    """A sweep as a notebook shows it: its state, how far it is, its values so far, and its trials."""
    best = sweep.best
    told = f" · best {_figure(best.value)} (trial {best.number})" if best is not None else ""
    parts = [_title(sweep.name, sweep.id, sweep.state, told), _bar(sweep.done, sweep.jobs, "jobs")]
    if sweep.reason is not None:
        parts.append(f"<div>{escape(str(sweep.reason.get('message')))}</div>")
    values = [(float(trial.number), trial.value) for trial in sweep.trials if trial.value is not None]
    metric = str(sweep.spec.get("metric") or "value")
    parts.append(plot_svg(f"{metric} by trial", [(metric, values)], "trial"))
    parts.append(html_table([_trial_row(trial) for trial in sweep.trials]) if sweep.trials else "")
    return "".join(parts)


def _trial_row(trial: Trial) -> dict[str, Any]:
    told = {"trial": trial.number, "job": trial.job, "state": trial.state, **trial.parameters}
    return told | {"value": trial.value, "reason": trial.reason}


def comparison_html(found: Comparison) -> str:
    """Jobs side by side as a notebook shows them: the parameters that differ, and each metric's curves in one plot."""
    rows = [{"job": job.name or job.id, "state": job.state, **job.parameters, **_accuracy(job)} for job in found.jobs]
    columns = ["job", "state", *found.telling, "accuracy"]
    colours = [f'<span style="color:{_colour(index)}">●</span>' for index in range(len(rows))]
    plots = []
    for kind, name in found.metrics[:MOST_PLOTS]:
        lines: list[Line] = []
        for job in found.jobs:
            metric = job.metric(name, kind)
            curve = metric.curve if metric is not None else None
            lines.append((job.name or job.id, finite(curve.x, curve.values) if curve is not None else []))
        plots.append(plot_svg(f"{name} ({kind})", lines, found.align))
    return f"{html_table(rows, columns, colours)}<div>{''.join(plots)}</div>"


def _accuracy(job: ComparedJob) -> dict[str, Any]:
    return {"accuracy": job.result["validation_accuracy"]} if "validation_accuracy" in job.result else {}


def _title(name: str | None, identity: str, state: str, told: str) -> str:
    colour = _STATE_COLOURS.get(state, "gray")
    called = f"<b>{escape(name)}</b> " if name else ""
    dot = f'<span style="color:{colour}">●</span> {escape(state)}'
    return f"<div>{called}<code>{escape(identity)}</code> {dot}{told}</div>"


def _bar(done: int, total: int, what: str) -> str:
    bar = f'<progress value="{int(done)}" max="{int(total)}" style="width:{WIDTH}px"></progress>'
    return f"<div>{bar} {int(done)}/{int(total)} {what}</div>"


def _told(job: Job) -> str:
    """Figures after the state, as far as they are known."""
    figures = []
    if job.accuracy is not None:
        figures.append(f"accuracy {100 * job.accuracy:.1f} %")
    if not job.ended and job.progress is not None and job.progress.eta_seconds is not None:
        figures.append(f"about {job.progress.eta_seconds:.0f} s left")
    return "".join(f" · {figure}" for figure in figures)


def _curves_html(job: Job) -> str:
    if job.load_curves is None:
        return ""
    try:
        series = job.load_curves()
    except FqtClientError as error:  # what is known of the job is shown all the same
        return f'<div style="color:gray">no curves: {escape(str(error))}</div>'
    plots = (plot_svg(title, [_line(entry) for entry in series if entry.name in names]) for title, names in _CURVES)
    return f"<div>{''.join(plots)}</div>"


def _line(series: Series) -> Line:
    return series.name, finite(series.steps, series.values)


def plot_svg(title: str, lines: Sequence[Line], axis: str = "step") -> str:
    """Curves as one SVG picture; empty where there are not two points to join.

    Args:
        title: what they show.
        lines: the curves, each in a colour of its own while there are colours.
        axis: what x counts.
    """
    every = [point for _, points in lines for point in points]
    if len(every) < 2:
        return ""
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    low, high = min(y for _, y in every), max(y for _, y in every)

    def place(point: tuple[float, float]) -> str:
        x = _LEFT + (point[0] - first) / ((last - first) or 1) * (WIDTH - _LEFT - _RIGHT)
        y = HEIGHT - _BOTTOM - (point[1] - low) / ((high - low) or 1) * (HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    drawn = "".join(
        f'<polyline fill="none" stroke="{_colour(index)}" stroke-width="1.5" '
        f'points="{" ".join(map(place, points))}"><title>{escape(name)}</title></polyline>'
        for index, (name, points) in enumerate(lines)
        if points
    )
    label = escape(f"{title} from {axis} {first:.4g} to {last:g}, between {low:.3g} and {high:.3g}")
    bottom = HEIGHT - _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11" fill="currentColor">'
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{WIDTH - _RIGHT}" fill="none" stroke="currentColor" opacity="0.4"/>'
        f'<text x="{_LEFT}" y="12">{escape(title)}</text>'
        f'<text x="{_LEFT - 4}" y="{_TOP + 8}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{_LEFT - 4}" y="{bottom}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{_LEFT}" y="{HEIGHT - 6}">{first:.4g}</text>'
        f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(axis)} {last:.4g}</text>{drawn}</svg>'
    )


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def finite(places: Sequence[float], values: Sequence[float | None]) -> list[tuple[float, float]]:
    """The points whose value is a number."""
    pairs = zip(places, values, strict=False)
    return [(float(x), float(y)) for x, y in pairs if y is not None and math.isfinite(y)]


def html_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None, marks: Sequence[str] | None = None
) -> str:
    """Rows as an HTML table.

    Args:
        rows: texts and figures by column; they are escaped.
        columns: which, in this order; None: those of which any row has a value.
        marks: HTML before each row.
    """
    names = columns if columns is not None else _columns(rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr><td>{mark}</td>{''.join(f'<td>{escape(_figure(row.get(name)))}</td>' for name in names)}</tr>"
        for row, mark in zip(rows, marks or [""] * len(rows), strict=True)
    )
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name, value in row.items() if value not in (None, "")))


def _figure(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; the columns are those of which any row has a value."""
    listed = list(rows)
    columns = _columns(listed)
    if not columns:
        return "*nothing*"
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(name)) for name in columns] for row in listed)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    """Text of one cell: neither HTML nor Markdown of its own, and on one line."""
    text = " ".join(str("" if value is None else value).split())
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", escape(text, quote=False))
