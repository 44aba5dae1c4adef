"""How a job is shown while it runs: a live bar on a terminal, plain lines in a pipe, JSON lines for programs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from fqt_client.cli.output import STATE_STYLES, duration_text, print_json_line, printable, share_text, sparkline
from fqt_client.cli.tally import Tally
from fqt_client.models import TERMINAL_STATES, Event, Job, explained_by

PLAIN_STEP_SECONDS = 10.0
EXACT = 0.995
"""Gradients in full precision have cosines of one to the exact ones, which says nothing."""

LEAST_SECONDS_LEFT = 10.0
"""Less is not worth telling in a line that is read when it has passed."""


class JobView(Protocol):
    """Shows one job; entered before the first event and left after the last one."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End showing."""

    def event(self, event: Event, tally: Tally) -> None:
        """Show what an event changed."""

    def end(self, job: Job, tally: Tally) -> None:
        """Show how the job ended."""


class Lines:
    """A view of lines only: there is nothing to begin and nothing to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class JsonView(Lines):
    """Each event as one JSON line, then the job object as the last one."""

    def event(self, event: Event, tally: Tally) -> None:  # noqa: ARG002 - events are told as they are
        """Print the event."""
        print_json_line(event.raw)

    def end(self, job: Job, tally: Tally) -> None:  # noqa: ARG002 - the job object says it all
        """Print the job."""
        print_json_line(job.raw)


class PlainView(Lines):
    """A line per epoch and change of state, and one every ten seconds in between."""

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self.title = title
        self._last_line = time.monotonic()

    def event(self, event: Event, tally: Tally) -> None:
        """Print a line if there is something to say."""
        kind = event.data.get("kind")
        due = time.monotonic() - self._last_line >= PLAIN_STEP_SECONDS
        note = note_of(event)
        if note is not None:
            self._say(note)
        elif event.type == "state" and tally.state not in TERMINAL_STATES:
            self._say(tally.state)
        elif kind == "epoch" or (kind == "step" and due):
            left = tally.seconds_left
            time_left = f" · {duration_text(left)} left" if left is not None and left >= LEAST_SECONDS_LEFT else ""
            self._say(f"{position_of(tally)} · {figures_of(tally)}{time_left}")

    def end(self, job: Job, tally: Tally) -> None:
        """Print the outcome."""
        self._say(outcome_of(job, tally).plain)

    def _say(self, text: str) -> None:
        self._last_line = time.monotonic()
        self.console.print(printable(f"{self.title}: {text}"), soft_wrap=True, markup=False)
        self.console.file.flush()


class LiveView:
    """A progress bar over the steps with the time left; below it the figures and the curve of the loss."""

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._title = printable(title)
        self._task = self._progress.add_task(escape(self._title), total=None, left="")
        self._figures = Text("queued", style="dim")
        # The bar and the figures are drawn together from this object, so that a redraw shows the newest of both.
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=8, transient=True)

    def _draw(self) -> Group:
        return Group(self._progress, self._figures)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def event(self, event: Event, tally: Tally) -> None:
        """Move the bar; print what people should read above it."""
        left = "" if tally.seconds_left is None else f"{duration_text(tally.seconds_left)} left"
        self._progress.update(self._task, total=tally.total_steps, completed=tally.step, left=left)
        if tally.step:
            self._figures = Text(f"  {figures_of(tally)}  {sparkline(tally.losses)}", overflow="crop", no_wrap=True)
        else:
            self._figures = Text(f"  {tally.state}", style="dim")
        note = note_of(event)
        if note is not None:
            self.console.print(printable(note), style="yellow" if event.type == "warning" else "dim", markup=False)

    def end(self, job: Job, tally: Tally) -> None:
        """Replace the bar by the outcome."""
        self._live.stop()
        self.console.print(Text.assemble((f"{self._title} ", "bold"), outcome_of(job, tally)))
        if tally.losses:
            self.console.print(Text(f"  loss {sparkline(tally.losses)} {tally.losses[-1]:.3f}", style="dim"))


def note_of(event: Event) -> str | None:
    """The text of an event that is meant for people, else None."""
    if event.type == "warning":
        return f"warning: {event.data.get('message')}"
    if event.type == "log" and event.data.get("level") in {"warning", "error"}:
        return f"{event.data.get('level')}: {event.data.get('message')}"
    return None


def position_of(tally: Tally) -> str:
    """How far the job is, in steps and epochs."""
    steps = f"step {tally.step}/{tally.total_steps}" if tally.total_steps else f"step {tally.step}"
    return f"{steps} · epoch {tally.epoch:.1f}/{tally.epochs}" if tally.epochs else steps


def figures_of(tally: Tally) -> str:
    """Loss, accuracy, the layers' quantised gradients against exact ones, and speed, as far as they are known."""
    parts = []
    if tally.loss is not None:
        parts.append(f"loss {tally.loss:.3f}")
    if tally.validation_accuracy is not None:
        parts.append(f"accuracy {share_text(tally.validation_accuracy)}")
    if tally.gradient_cosines is not None and tally.gradient_cosines[0] < EXACT:
        least, greatest = tally.gradient_cosines
        parts.append(f"gradient cosines {least:.2f} to {greatest:.2f}")
    if tally.images_per_second:
        parts.append(f"{tally.images_per_second:,.0f} {tally.examples}/s")
    return " · ".join(parts) or tally.state


def outcome_of(job: Job, tally: Tally) -> Text:
    """How the job ended, in a few words."""
    parts = [duration_text(job.seconds)] if job.seconds is not None else []
    accuracy = (job.result or {}).get("validation_accuracy", tally.best_accuracy)
    if job.state == "succeeded" and accuracy is not None:
        parts.append(f"accuracy {share_text(accuracy)}")
    explained = explained_by(job.result)
    if job.state == "succeeded" and explained is not None:
        parts.append(f"R² {explained:.3f}")
    if job.error is not None and job.error.message:
        parts.append(f"{job.error.param}: {job.error.message}" if job.error.param else job.error.message)
    words = (printable(f" · {part}") for part in parts)
    return Text.assemble((job.state, STATE_STYLES.get(job.state, "")), *words)
