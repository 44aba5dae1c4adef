from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from fqt_client import Event, Job
from fqt_client.cli import output
from fqt_client.cli.output import bytes_text, duration_text, share_text, sparkline
from fqt_client.cli.tally import Tally
from fqt_client.cli.views import LiveView
from tests.client.fake import event, job


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000, "2.0 MB"), (5e12, "5000.0 GB"), (None, "–")],
)
def test_sizes(count: float | None, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (3599, "59:59 min"), (7500, "2:05 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_shares() -> None:
    assert (share_text(0.975), share_text(None)) == ("97.5 %", "–")


def test_a_sparkline_shows_the_shape_at_any_length() -> None:
    assert sparkline([]) == ""
    assert sparkline([1.0]) == "▁"
    assert sparkline([0.0, 1.0]) == "▁█"
    assert sparkline([float(value) for value in range(1000)], width=8) == "▁▂▃▄▅▆▇█"
    assert len(sparkline([1.0] * 25, width=24)) == 24


def test_the_live_view_on_a_terminal_ends_with_outcome_and_curve() -> None:
    out = Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False)
    tally = Tally()
    view = LiveView(out, "fqt")
    with view:
        for number in range(1, 51):
            entry = Event.from_json(event(number, kind="step", step=number, epoch=1.0, loss=1 / number))
            tally.total_steps = 50
            tally.read_event(entry)
            view.event(entry, tally)
        warning = Event.from_json(event(51, "warning", message="take [care]"))
        view.event(warning, tally)
        view.end(Job.from_json(job("succeeded", result={"validation_accuracy": 0.9})), tally)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "50/50" in text
    assert "take [care]" in text  # what a job says is text, not markup
    assert "accuracy 90.0 %" in text
    assert sparkline(tally.losses) in text


def test_a_damaged_figure_does_not_stop_the_view() -> None:
    tally = Tally()
    tally.read_event(
        Event.from_json(json.loads('{"seq": 1, "type": "metric", "data": {"kind": "step", "step": 1, "loss": null}}'))
    )
    assert (tally.step, tally.loss) == (1, None)


@pytest.mark.parametrize(("width", "lines"), [(100, 3), (40, 8)])
def test_a_table_too_wide_for_the_terminal_becomes_records(
    width: int, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(output, "console", lambda file=None: Console(force_terminal=True, width=width, highlight=False))
    rows = [
        ("job_01JD0000000000000000000000", "running", "12/40"),
        ("job_01JD0000000000000000000001", "failed", "3/40"),
    ]
    output.print_table(("id", "state", "progress"), rows, empty="none")
    out = capsys.readouterr().out
    assert len(out.splitlines()) == lines
    assert all(row[0] in out for row in rows)
    assert "\x1b[3" not in out  # no colour


def test_the_time_left_follows_from_the_pace_and_not_from_a_pause() -> None:
    tally = Tally(total_steps=100)
    for number, second in ((1, 0), (5, 8)):
        entry = event(number, kind="step", step=number) | {"created_at": f"2026-01-02T03:04:{second:02}Z"}
        tally.read_event(Event.from_json(entry))
    assert tally.seconds_left == 190  # 2 s a step
    tally.read_event(Event.from_json(event(6, "state", to="paused")))
    assert tally.seconds_left is None
