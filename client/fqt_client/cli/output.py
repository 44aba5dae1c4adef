"""How things are shown: consoles, tables, figures with units. Plain text where there is no terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from typing import IO, Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from fqt_client.archive import ProgressCallback

# Where lines are not cut by a window, a table takes what it needs (and can be searched with grep).
PIPE_WIDTH = 240
STATE_STYLES = {
    "succeeded": "green",
    "ready": "green",
    "running": "cyan",
    "failed": "bold red",
    "invalid": "bold red",
    "cancelled": "yellow",
}
_WHOLE = frozenset({"id", "name", "job", "state", "curve"})
_READABLE = 8
_SPARKS = "▁▂▃▄▅▆▇█"


def console(file: IO[str] | None = None) -> Console:
    """A console on ``file`` (stdout if None)."""
    stream = file or sys.stdout
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False, soft_wrap=False)


def show(renderable: RenderableType) -> None:
    """Print on stdout; without a terminal, lines are not filled up with blanks."""
    out = console()
    if out.is_terminal:
        out.print(renderable)
        return
    with out.capture() as capture:
        out.print(renderable)
    print_line("\n".join(line.rstrip() for line in capture.get().splitlines()))


def printable(text: str) -> str:
    """Text from elsewhere, fit for a terminal: a control character could move its cursor or change its colours."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_json_line(value: Any) -> None:
    """Print one JSON document on a line of its own, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Print text for people on stdout, at once also where stdout is a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print a table; ``empty`` instead, if it has no rows. The column `state` is coloured.

    Where a terminal is too narrow for that, each row becomes lines of its own.
    """
    rows = [[str(value) for value in row] for row in rows]
    out = console()
    if out.is_terminal and _least_width(columns, rows) > out.width:
        for row in rows:
            print_facts({name: value for name, value in zip(columns, row, strict=True) if value != "–"})
            print_line("")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        # Ids are copied from here: they are never cut.
        table.add_column(name, no_wrap=name in _WHOLE, overflow="fold")
    for row in rows:
        table.add_row(
            *(
                Text(printable(str(value)), style=STATE_STYLES.get(str(value), "") if name == "state" else "")
                for name, value in zip(columns, row, strict=True)
            )
        )
    show(table if table.row_count else Text(empty))


def _least_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Characters that a table needs so that people can still read it."""
    longest = [max([len(name), *(len(row[index]) for row in rows)]) for index, name in enumerate(columns)]
    least = (width if name in _WHOLE else min(width, _READABLE) for name, width in zip(columns, longest, strict=True))
    return sum(least) + len(columns) - 1


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values, one pair a line; those without a value are left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value not in (None, ""):
            table.add_row(name, Text(printable(str(value)), style=STATE_STYLES.get(str(value), "")))
    show(table)


def bytes_text(count: int | float | None) -> str:
    """A size for people: `1.5 MB` (powers of 1000)."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable: the last unit takes all")


def share_text(share: float | None) -> str:
    """A share of 1 as per cent: `97.5 %`."""
    return "–" if share is None else f"{100 * share:.1f} %"


def figure_text(value: float | None) -> str:
    """A figure of any size, to four digits: `0.003`, `1.5e-06`, `4112`."""
    if value is None:
        return "–"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"


def value_text(value: Any) -> str:
    """A value of a spec: numbers short, what is nested as JSON."""
    if isinstance(value, float):
        return figure_text(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def short_names(names: Sequence[str]) -> list[str]:
    """The last part of each dotted name, where no other one ends like that, and where it tells enough."""
    lasts = [name.rpartition(".")[2] for name in names]
    return [
        last if lasts.count(last) == 1 and last != "name" else name for name, last in zip(names, lasts, strict=True)
    ]


def time_text(moment: datetime | None) -> str:
    """A moment in local time, to the second."""
    return "–" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration_text(seconds: float | None) -> str:
    """A duration for people: `42 s`, `3:07 min`, `2:05 h`."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def sparkline(values: Iterable[float], width: int = 24) -> str:
    """A curve in one line of block characters; each stands for the mean of its share of ``values``."""
    every = list(values)
    if not every:
        return ""
    count = min(width, len(every))
    edges = [len(every) * index // count for index in range(count + 1)]
    means = [sum(every[start:end]) / (end - start) for start, end in pairwise(edges)]
    return "".join(_block(mean, min(means), max(means)) for mean in means)


def sparkline_over(
    places: Sequence[float],
    values: Sequence[float | None],
    ends: tuple[float, float],
    bounds: tuple[float, float],
    width: int = 24,
) -> str:
    """A curve in one line of block characters, on scales that it shares with others.

    Args:
        places: where each value is, ascending.
        values: None where a value was not finite.
        ends: the places of the first and the last character. Beyond its last place the curve is blank.
        bounds: the values of the lowest and the highest character.
        width: characters in all.
    """
    pieces: list[list[float]] = [[] for _ in range(width)]
    reach = (ends[1] - ends[0]) or 1.0
    for place, value in zip(places, values, strict=True):
        if value is not None and math.isfinite(value):
            pieces[min(width - 1, int((place - ends[0]) / reach * width))].append(value)
    last = max((index for index, piece in enumerate(pieces) if piece), default=-1)
    line, mean = "", None
    for piece in pieces[: last + 1]:
        mean = sum(piece) / len(piece) if piece else mean  # between two values that are far apart, the one before
        line += " " if mean is None else _block(mean, *bounds)
    return line


def _block(value: float, low: float, high: float) -> str:
    return _SPARKS[round((value - low) / ((high - low) or 1.0) * (len(_SPARKS) - 1))]


@contextmanager
def transfer_bar(label: str, *, shown: bool = True) -> Iterator[ProgressCallback | None]:
    """A progress bar of bytes on stderr, as a callback; None where there is no terminal or it is not to be shown."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console(sys.stderr), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
