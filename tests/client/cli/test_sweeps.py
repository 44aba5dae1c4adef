"""`fqt sweep …` in words and in JSON, against a scripted service; the app itself is in tests/api/test_client.py."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from rich.console import Console

from fqt_client.cli.space import space_of, values_of
from fqt_client.cli.sweep_views import LiveView
from fqt_client.sweeps import Sweep
from tests.client.cli.running import Run
from tests.client.fake import JOB_ID, Script, job, problem
from tests.client.sweeps import PATH, RATE, SWEEP_ID, answer, sweep, trial


@pytest.fixture(autouse=True)
def _service(script: Script) -> None:
    answer(script)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,4", {"type": "choice", "values": [1, 2, 4]}),
        ("adam, sgd", {"type": "choice", "values": ["adam", "sgd"]}),
        ("7", {"type": "choice", "values": [7]}),
        ('[null, {"decay": 0.9}]', {"type": "choice", "values": [None, {"decay": 0.9}]}),
        ("0.1..0.5", {"type": "uniform", "low": 0.1, "high": 0.5}),
        ("0..1:0.25", {"type": "uniform", "low": 0, "high": 1, "step": 0.25}),
        ("3e-4..3e-2:log", {"type": "log_uniform", "low": 3e-4, "high": 3e-2}),
        ("8..64:8", {"type": "int", "low": 8, "high": 64, "step": 8}),
        ("-1..1", {"type": "int", "low": -1, "high": 1}),
        ("8..64:log", {"type": "int", "low": 8, "high": 64, "log": True}),
        ('{"type": "uniform", "low": 0, "high": 1}', {"type": "uniform", "low": 0, "high": 1}),
    ],
)
def test_values_are_read_as_people_write_them(text: str, values: dict[str, Any]) -> None:
    assert values_of(text) == values


def test_what_is_no_field_with_values_is_wrong_usage() -> None:
    for text in ("training.seed", "=1", "training.seed="):
        with pytest.raises(typer.BadParameter, match="PATH=VALUES"):
            space_of([text])


FILE = """
base: {dataset: digits, training: {epochs: 3, learning_rate: 1e-3}, classes: [no, 'on', 010]}
space:
  training.learning_rate: {type: log_uniform, low: 3e-4, high: 3e-2}
max_jobs: 5
"""


def test_a_file_and_options_together_make_a_sweep(fqt: Run, script: Script, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FILE)
    options = ["--vary", "method.bits=1,2", "--set", "training.epochs=2", "--pruning", "median", "-n", "9"]
    code, out, _ = fqt("sweep", "create", str(tmp_path / "s.yaml"), *options, "--name", "mine", "--parallel", "2")
    assert code == 0
    assert f"fqt sweep watch {SWEEP_ID}" in out
    assert json.loads(script.seen("POST", "/v1/sweeps")[0].content) == {
        # YAML 1.2: neither are the Norwegians false, nor is 1e-3 text
        "base": {
            "dataset": "digits",
            "training": {"epochs": 2, "learning_rate": 0.001},
            "classes": ["no", "on", "010"],
        },
        "space": {
            "training.learning_rate": {"type": "log_uniform", "low": 0.0003, "high": 0.03},
            "method.bits": {"type": "choice", "values": [1, 2]},
        },
        "name": "mine",
        "max_jobs": 9,
        "parallel": 2,
        "pruning": {"name": "median"},
    }


def test_a_job_is_what_a_sweep_goes_out_from(fqt: Run, script: Script) -> None:
    spec = {"dataset": "digits", "name": "old", "training": {"epochs": 2}}
    script.on("GET", f"/v1/jobs/{JOB_ID}", httpx.Response(200, json=job(spec=spec)))
    script.on("POST", "/v1/sweeps", httpx.Response(200, json={"jobs": 2, "checked": 2, "seconds": 90.0}))
    code, out, _ = fqt("sweep", "create", "--like", JOB_ID, "--vary", "training.seed=1,2", "--dry-run")
    assert (code, "1:30 min" in out) == (0, True)
    [asked] = script.seen("POST", "/v1/sweeps")
    assert asked.url.params["dry_run"] == "true"
    assert json.loads(asked.content)["base"] == {"dataset": "digits", "training": {"epochs": 2}}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--dataset", "digits"], 2, "say what to search"),
        (["--vary", "training.seed=1,2"], 2, "name a data set"),
        (["nothing.json"], 5, "cannot read nothing.json: No such file"),
        (["broken.yaml"], 5, "broken.yaml is no YAML: while parsing"),
        (["list.yaml"], 5, "list.yaml holds no object — it must look like docs/sweeps.md shows"),
    ],
)
def test_what_makes_no_sweep_is_told_in_one_line(
    fqt: Run,
    script: Script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text("a: [1")
    Path("list.yaml").write_text("- 1")
    found = fqt("sweep", "create", *arguments)
    assert (found[0], found[1], found[2].count("\n")) == (code, "", 1)
    assert said in found[2]
    assert script.requests == []


def test_yaml_without_a_reader_names_the_way_out(fqt: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    (tmp_path / "s.yml").write_text(FILE)
    code, _, err = fqt("sweep", "create", str(tmp_path / "s.yml"))
    assert (code, "pip install pyyaml, or write it as JSON" in err) == (5, True)


def test_watching_tells_each_trial_once_and_the_best(fqt: Run, script: Script) -> None:
    code, out, err = fqt("sweep", "watch", "last")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "rates: 1 of 4 jobs have ended",
        "rates: 1/4 · trial 1 succeeded · learning_rate 0.1 · 0.5 ▁█ · best so far · 3:03 min left",
        "rates: 2/2 · trial 2 succeeded · learning_rate 0.01 · 0.75 ▁█ · best so far",
        f"rates: finished · best 0.75 with learning_rate 0.01 ({JOB_ID})",
    ]
    assert len(script.waits) == 2  # what has not changed is not told again


def test_watching_goes_on_over_a_restart_and_ends_as_the_sweep_does(fqt: Run, script: Script) -> None:
    failed = sweep(state="failed", reason={"code": "no_result", "message": "no job succeeded"})
    away = [httpx.ConnectError("refused")] * 12 + [problem(503, "unavailable", "Starting.")] * 6
    script.on("GET", PATH, httpx.Response(200, json=sweep()), *away, httpx.Response(200, json=failed))
    code, out, err = fqt("sweep", "watch", SWEEP_ID)
    assert (code, err) == (1, "")
    assert "rates: failed · no job succeeded · best none yet" in out
    script.on("GET", PATH, httpx.Response(200, json=sweep()), httpx.ConnectError("refused"))
    assert fqt("sweep", "watch", SWEEP_ID)[0] == 3  # not for ever
    script.waits.clear()
    script.on("GET", PATH, httpx.ConnectError("refused"))
    assert fqt("sweep", "watch", SWEEP_ID)[0] == 3
    assert sum(script.waits) < 10  # and a service that never was there is told at once


def test_ctrl_c_leaves_the_sweep_running(fqt: Run, script: Script) -> None:
    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    script.on("GET", PATH, interrupt)
    code, _, err = fqt("sweep", "watch", SWEEP_ID)
    assert (code, f"cancel it: fqt sweep cancel {SWEEP_ID}" in err) == (130, True)
    assert not script.seen("POST", f"{PATH}/cancel")


def test_sweeps_are_listed_and_shown(fqt: Run, script: Script) -> None:
    lines = fqt("sweep", "list")[1].splitlines()
    assert lines[0].split() == ["id", "name", "state", "jobs", "metric", "best", "over", "created"]
    assert lines[1].split()[:7] == [SWEEP_ID, "rates", "running", "1/4", "validation_accuracy", "0.5", RATE]
    out = fqt("sweep", "show", SWEEP_ID)[1]
    assert "1 of 4 have ended (1 running, 1 succeeded)" in out
    assert any(line.split()[-4:] == ["0.5", "best", "▁█", "–"] for line in out.splitlines())
    assert f"fqt compare --sweep {SWEEP_ID}" in out
    assert fqt("sweep", "cancel", "last")[1] == f"{SWEEP_ID} is cancelled\n"
    assert fqt("sweep", "delete", "last")[1] == f"Deleted {SWEEP_ID}\n"
    script.on("GET", "/v1/sweeps", httpx.Response(200, json={"data": [], "has_more": False}))
    assert "fqt sweep create --help" in fqt("sweep", "list")[1]
    code, _, err = fqt("sweep", "show", "last")
    assert (code, err) == (4, "fqt: there are no sweeps yet — make one: fqt sweep create --help\n")
    assert fqt("sweep", "show", "job_1")[2] == (
        "fqt: 'job_1' cannot be the id of a sweep — `fqt sweep list` lists them: swp_…\n"
    )


def test_the_live_view_shows_the_best_what_runs_and_what_ended() -> None:
    out = Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False)
    with LiveView(out) as view:
        view.show(Sweep.from_json(sweep(trial(1, 0.5), trial(2, None), name="[red]")))
        drawn = "\n".join(str(line) for line in view._draw().renderables[1:])
        assert drawn == f"  best 0.5 with learning_rate 0.1 ({JOB_ID})\n  trial 2 running · learning_rate 0.01 · 0.25 ▁"
        view.show(Sweep.from_json(sweep(trial(1, 0.5), trial(2, 0.75), state="finished", jobs=2, name="[red]")))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("trial 1 succeeded") == 1
    assert "2/2" in text
    assert "[red]" in text  # a name is text, not markup
    assert "finished" in text
