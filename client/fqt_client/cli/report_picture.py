"""The chart of a sweep's report: a bar per row for its metric, its energy proxy and its time. Drawn with Pillow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fqt_client.cli.report_text import joules_text, metric_title, spread_text
from fqt_client.errors import LocalFileError

if TYPE_CHECKING:
    from fqt_client.reports import ReportRow, Spread, SweepReport

_SCALE = 2  # pixels per unit of the layout
_LABELS, _PANEL, _GAP, _ROW, _BAR = 210, 290, 24, 30, 17
_TOP, _BELOW = 74, 64
_VALUE_ROOM = 96  # right of the longest bar, for its figure
_INK, _DIM, _PAPER, _WHISKER = "#20262e", "#6b7280", "#ffffff", "#e08a3c"
_COLOURS = {"float": "#7a8694", "simulated": "#b9c2cc", "integer": "#2b5c8a", "binary": "#1b3a57"}


def check_drawing(path: Path) -> None:
    """See that a picture of this name can be drawn.

    Raises:
        LocalFileError: it is no PNG, or there is nothing to draw with.
    """
    if path.suffix.lower() != ".png":
        raise LocalFileError(f"the picture {path} would be no PNG", remedy="give it a name that ends in .png")
    try:
        import PIL.ImageDraw  # noqa: F401, PLC0415
    except ImportError as error:
        raise LocalFileError(
            "Pillow, which draws the picture, is not installed", remedy="pip install pillow"
        ) from error


@dataclass(frozen=True)
class _Bar:
    """``length`` is ``None`` where there is no value; ``deviation`` is drawn as a whisker."""

    length: float | None
    deviation: float
    text: str


@dataclass(frozen=True)
class _Panel:
    title: str
    bars: Sequence[_Bar]

    @property
    def most(self) -> float:
        """What the panel's width stands for."""
        return max((bar.length + bar.deviation for bar in self.bars if bar.length is not None), default=0.0) or 1.0


def draw(report: SweepReport, path: Path) -> None:
    """Draw the report as a PNG."""
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 - the client alone does not bring it along

    panels = _panels(report)
    width = _LABELS + len(panels) * (_PANEL + _GAP)
    height = _TOP + _ROW * len(report.rows) + _BELOW
    image = Image.new("RGB", (width * _SCALE, height * _SCALE), _PAPER)
    canvas = ImageDraw.Draw(image)
    fonts: dict[int, Any] = {size: ImageFont.load_default(size * _SCALE) for size in (11, 13, 17)}

    def text(x: float, y: float, words: str, size: int = 13, colour: str = _INK, anchor: str = "lm") -> None:
        canvas.text((x * _SCALE, y * _SCALE), words, fill=colour, font=fonts[size], anchor=anchor)

    def box(left: float, top: float, right: float, bottom: float, colour: str) -> None:
        canvas.rectangle((left * _SCALE, top * _SCALE, right * _SCALE, bottom * _SCALE), fill=colour)

    text(14, 22, report.name or report.sweep, 17)
    for place, row in enumerate(report.rows):
        text(_LABELS - 10, _middle(place), _shortened(row.label), anchor="rm")
    for number, panel in enumerate(panels):
        left = _LABELS + number * (_PANEL + _GAP)
        text(left, 54, panel.title, colour=_DIM)
        box(left - 1, _TOP - 6, left, _TOP + _ROW * len(report.rows), _DIM)
        for place, (bar, row) in enumerate(zip(panel.bars, report.rows, strict=True)):
            end = _draw_bar(box, bar, row, left, _middle(place), (_PANEL - _VALUE_ROOM) / panel.most)
            text(end + 7, _middle(place), bar.text, 11, _INK if bar.length is not None else _DIM)
    _legend(box, text, report, height)
    image.save(path, format="PNG", optimize=True)


def _draw_bar(box: Callable[..., None], bar: _Bar, row: ReportRow, left: float, middle: float, unit: float) -> float:
    """Draw one bar with its whisker; return where it ends."""
    if bar.length is None:
        return left
    end = left + bar.length * unit
    box(left, middle - _BAR / 2, end, middle + _BAR / 2, _COLOURS.get(row.arithmetic or "", _DIM))
    whisker = bar.deviation * unit
    if whisker > 0:
        box(end - whisker, middle - 0.75, end + whisker, middle + 0.75, _WHISKER)
        for side in (end - whisker, end + whisker):
            box(side - 0.75, middle - 4, side + 0.75, middle + 4, _WHISKER)
    return end + whisker


def _legend(box: Callable[..., None], text: Callable[..., None], report: SweepReport, height: int) -> None:
    x, y = 14.0, height - 40
    for name in dict.fromkeys(row.arithmetic for row in report.rows if row.arithmetic in _COLOURS):
        assert name is not None, "it is a name of the table"
        box(x, y - 5, x + 10, y + 5, _COLOURS[name])
        text(x + 16, y, f"{name} arithmetic", 11, _DIM)
        x += 150
    note = (
        "Whiskers: standard deviation over jobs. Energy: a proxy, operations and bytes of a step by Horowitz "
        "(ISSCC 2014, 45 nm), not measured."
    )
    text(14, height - 18, note, 11, _DIM)


def _middle(place: int) -> float:
    return _TOP + _ROW * (place + 0.5)


def _shortened(label: str, most: int = 28) -> str:
    return label if len(label) <= most else f"{label[: most - 3]}..."


def _panels(report: SweepReport) -> list[_Panel]:
    is_share = "accuracy" in report.metric
    metric, energy, time = [], [], []
    for row in report.rows:
        words = spread_text(row.value, is_share=is_share) if row.value is not None else _without(row)
        metric.append(_bar(row.value, words))
        cost = row.cost
        energy.append(_Bar(None, 0.0, "") if cost is None else _Bar(cost.joules, 0.0, joules_text(cost.joules)))
        seconds = row.seconds_per_epoch
        time.append(_bar(seconds, "" if seconds is None else f"{seconds.mean:.3g} s"))
    return [
        _Panel(metric_title(report), metric),
        _Panel("energy proxy of a step", energy),
        _Panel("time per epoch", time),
    ]


def _bar(spread: Spread | None, words: str) -> _Bar:
    return _Bar(None, 0.0, words) if spread is None else _Bar(spread.mean, spread.deviation or 0.0, words)


def _without(row: ReportRow) -> str:
    states = dict.fromkeys(run.state for run in row.runs)
    return ", ".join(states) or "no jobs"
