"""How things look in a notebook: HTML and SVG without scripts, Markdown tables. All text from elsewhere is escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from fqt_client.errors import FqtClientError

if TYPE_CHECKING:
    from fqt_client.models import Job, Series

WIDTH, HEIGHT = 320, 140
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 8, 20, 20
_COLOURS = ("#3b6fd4", "#d4703b")
_STATE_COLOURS = {"succeeded": "#2a8a4a", "running": "#3b6fd4", "failed": "#c0392b", "cancelled": "#b7791f"}
_CURVES = (("loss", ("loss", "train_loss")), ("accuracy", ("validation_accuracy",)))


def job_html(job: Job) -> str:
    """A job as a notebook shows it: its state, how far it is, what went wrong, and its curves."""
    colour = _STATE_COLOURS.get(job.state, "gray")
    name = f"<b>{escape(job.name)}</b> " if job.name else ""
    state = f'<span style="color:{colour}">●</span> {escape(job.state)}'
    parts = [f"<div>{name}<code>{escape(job.id)}</code> {state}{_told(job)}</div>"]
    progress = job.progress
    if progress is not None and progress.total_steps:
        parts.append(
            f'<div><progress value="{int(progress.step)}" max="{int(progress.total_steps)}" '
            f'style="width:{WIDTH}px"></progress> {int(progress.step)}/{int(progress.total_steps)} steps</div>'
        )
    if job.error is not None:
        what = f"{job.error.param}: {job.error.message}" if job.error.param else job.error.message
        parts.append(f'<div style="color:{_STATE_COLOURS["failed"]}">{escape(what)}</div>')
    return "".join([*parts, _curves_html(job)])


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
    plots = (curves_svg(title, [entry for entry in series if entry.name in names]) for title, names in _CURVES)
    return f"<div>{''.join(plots)}</div>"


def curves_svg(title: str, series: Sequence[Series]) -> str:
    """Curves over steps as one SVG picture; empty where there are not two points to join."""
    lines = [(entry.name, _points(entry)) for entry in series]
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
        f'<polyline fill="none" stroke="{_COLOURS[index % len(_COLOURS)]}" stroke-width="1.5" '
        f'points="{" ".join(map(place, points))}"><title>{escape(name)}</title></polyline>'
        for index, (name, points) in enumerate(lines)
        if points
    )
    label = escape(f"{title} from step {first:g} to {last:g}, between {low:.3g} and {high:.3g}")
    bottom = HEIGHT - _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11" fill="currentColor">'
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{WIDTH - _RIGHT}" fill="none" stroke="currentColor" opacity="0.4"/>'
        f'<text x="{_LEFT}" y="12">{escape(title)}</text>'
        f'<text x="{_LEFT - 4}" y="{_TOP + 8}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{_LEFT - 4}" y="{bottom}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{_LEFT}" y="{HEIGHT - 6}">{first:g}</text>'
        f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 6}" text-anchor="end">step {last:g}</text>{drawn}</svg>'
    )


def _points(series: Series) -> list[tuple[float, float]]:
    pairs = zip(series.steps, series.values, strict=False)
    return [(float(x), float(y)) for x, y in pairs if y is not None and math.isfinite(y)]


def markdown_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; the columns are those of which any row has a value."""
    listed = list(rows)
    columns = list(dict.fromkeys(name for row in listed for name, value in row.items() if value not in (None, "")))
    if not columns:
        return "*nothing*"
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(name)) for name in columns] for row in listed)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    """Text of one cell: neither HTML nor Markdown of its own, and on one line."""
    text = " ".join(str("" if value is None else value).split())
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", escape(text, quote=False))
