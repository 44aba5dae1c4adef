"""How a sweep is shown while it runs: a live bar on a terminal, a line per trial in a pipe, JSON lines for programs."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from fqt_client.cli.output import (
    STATE_STYLES,
    console,
    duration_text,
    figure_text,
    print_json_line,
    printable,
    sparkline,
    value_text,
)
from fqt_client.cli.views import Lines
from fqt_client.sweeps import Sweep, Trial


class SweepView(Protocol):
    """Shows one sweep; entered before it is shown first."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End showing."""

    def show(self, sweep: Sweep) -> None:
        """Show it as it is now."""


def view_for(*, as_json: bool) -> SweepView:
    """The view that fits what stdout is."""
    if as_json:
        return JsonView()
    out = console()
    return LiveView(out) if out.is_terminal else PlainView(out)


class JsonView(Lines):
    """The sweep on one line, whenever it has changed."""

    def show(self, sweep: Sweep) -> None:
        """Print it."""
        print_json_line(sweep.raw)


class PlainView(Lines):
    """A line for each trial that ends, and one for the outcome."""

    def __init__(self, out: Console) -> None:
        self.console = out
        self._told: set[int] = set()
        self._title: str | None = None

    def show(self, sweep: Sweep) -> None:
        """Print what is new."""
        if self._title is None:
            self._title = sweep.name or sweep.id
            self._say(f"{sweep.done} of {sweep.jobs} jobs have ended")
        for trial in sweep.trials:
            if trial.state != "running" and trial.number not in self._told:
                self._told.add(trial.number)
                self._say(f"{len(self._told)}/{sweep.jobs} · {trial_text(trial, sweep.best)}{_left(sweep)}")
        if sweep.ended:
            self._say(outcome_text(sweep).plain)

    def _say(self, text: str) -> None:
        self.console.print(printable(f"{self._title}: {text}"), soft_wrap=True, markup=False)
        self.console.file.flush()


class LiveView:
    """A bar over the jobs with the time left; below it the best so far and what runs; trials that ended above."""

    def __init__(self, out: Console) -> None:
        self.console = out
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=out,
        )
        self._task = self._progress.add_task("sweep", total=None, left="")
        self._below: list[Text] = []
        self._told: set[int] = set()
        self._live = Live(get_renderable=self._draw, console=out, refresh_per_second=8, transient=True)

    def _draw(self) -> Group:
        return Group(self._progress, *self._below)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, sweep: Sweep) -> None:
        """Move the bar, and print the trials that have ended since above it."""
        title = escape(printable(sweep.name or sweep.id))
        left = _left(sweep).removeprefix(" · ")
        for trial in sweep.trials:
            if trial.state != "running" and trial.number not in self._told:
                self._told.add(trial.number)
                self.console.print(Text(printable(f"  {trial_text(trial, sweep.best)}"), style="dim"))
        running = [trial for trial in sweep.trials if trial.state == "running"]
        lines = [f"  best {best_text(sweep)}", *(f"  {trial_text(trial, None)}" for trial in running)]
        self._below = [Text(printable(line), overflow="ellipsis", no_wrap=True) for line in lines]
        self._progress.update(self._task, description=title, total=sweep.jobs, completed=sweep.done, left=left)
        if sweep.ended:
            self._live.stop()
            self.console.print(Text.assemble((f"{printable(sweep.name or sweep.id)} ", "bold"), outcome_text(sweep)))


def parameters_text(trial: Trial, name: str | None = None) -> str:
    """The values that a trial tries, or that of one parameter."""
    if name is not None:
        return value_text(trial.parameters[name]) if name in trial.parameters else "–"
    return ", ".join(f"{path.rpartition('.')[2]} {value_text(value)}" for path, value in trial.parameters.items())


def trial_text(trial: Trial, best: Trial | None) -> str:
    """One trial in a line: its values, what came of it, and whether it is the best so far."""
    value = trial.value if trial.value is not None else next(reversed(list(trial.epochs.values())), None)
    parts = [f"trial {trial.number} {trial.state}", parameters_text(trial)]
    if value is not None:
        parts.append(f"{figure_text(value)} {sparkline(trial.epochs.values())}".strip())
    if trial.reason:
        parts.append(trial.reason)
    if best is not None and best.number == trial.number:
        parts.append("best so far")
    return " · ".join(parts)


def best_text(sweep: Sweep) -> str:
    """The best trial so far, or that there is none."""
    if sweep.best is None:
        return "none yet"
    return f"{figure_text(sweep.best.value)} with {parameters_text(sweep.best)} ({sweep.best.job or 'job deleted'})"


def outcome_text(sweep: Sweep) -> Text:
    """How the sweep ended."""
    style = {"finished": "green"}.get(sweep.state, STATE_STYLES.get(sweep.state, ""))
    reason = f" · {sweep.reason['message']}" if sweep.reason and sweep.reason.get("message") else ""
    return Text.assemble((sweep.state, style), printable(f"{reason} · best {best_text(sweep)}"))


def _left(sweep: Sweep) -> str:
    return "" if sweep.ended or not sweep.seconds_left else f" · {duration_text(sweep.seconds_left)} left"
