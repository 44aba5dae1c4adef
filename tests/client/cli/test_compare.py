"""`fqt compare`, against a scripted service."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from fqt_client.cli.output import figure_text, sparkline_over, value_text
from tests.client.cli.running import Run
from tests.client.fake import JOB_ID, Script, job
from tests.client.sweeps import RATE, SWEEP_ID, answer, compared, comparison


@pytest.fixture(autouse=True)
def _service(script: Script) -> None:
    answer(script)


def _asked(script: Script) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(script.seen("POST", "/v1/compare")[-1].content)
    return body


def test_what_differs_and_the_metrics_are_shown_on_one_scale(fqt: Run, script: Script) -> None:
    code, out, err = fqt("compare", JOB_ID, JOB_ID[:-1] + "1")
    assert (code, err) == (0, "")
    head, first, _, _, title, columns, one, two = out.splitlines()
    assert head.split() == ["id", "name", "state", "learning_rate", "accuracy", "trained"]
    assert first.split()[1:] == ["run", "1", "succeeded", "0.1", "50.0", "%", "3.0", "s"]
    assert title == "loss, of each step · curves over steps 0 to 3, from 0.5 to 2"
    assert columns.split()[-1] == "curve"
    assert "2 (1)" in one
    assert one.split()[-1][0] == two.split()[-1][0] == "█"  # both begin with 2
    assert one.endswith("▁")
    assert two.split()[-1][-1] == "▆"  # 1.5, two thirds of the way up
    assert len(two.split()[-1]) < len(one.split()[-1])  # it ends before the other
    assert _asked(script)["metrics"] == ["loss", "validation_accuracy"]


def test_options_choose_jobs_metrics_and_the_axis(fqt: Run, script: Script) -> None:
    def named(number: int, name: str, method: str = "fqt", dataset: str = "digits") -> dict[str, Any]:
        spec = {"method": {"name": method}, "dataset": dataset}
        return job(name=name, spec=spec) | {"id": f"{JOB_ID[:-1]}{number}"}

    rows = [named(1, "a1"), named(2, "b"), named(3, "a2", "qat"), named(4, "a3"), named(5, "a4", dataset="ds_1")]
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": rows, "has_more": False}))
    chosen = ["--name", "a*", "--method", "fqt", "--dataset", "digits", "--state", "running"]
    assert fqt("compare", "last", *chosen, "--metric", "all", "--by", "time", "--equal", "--json")[0] == 0
    assert _asked(script)["jobs"] == [JOB_ID[:-1] + "1", JOB_ID[:-1] + "4"]  # none twice
    assert (_asked(script)["align"], _asked(script)["equal"], "metrics" in _asked(script)) == ("time", True, False)
    assert script.seen("GET", "/v1/jobs")[-1].url.params["state"] == "running"
    assert [row["name"] for row in json.loads(fqt("jobs", *chosen, "--json")[1])] == ["a1", "a3"]
    assert fqt("compare", "-n", "2", "--metric", "loss")[0] == 0
    assert _asked(script)["jobs"] == [JOB_ID[:-1] + "1", JOB_ID[:-1] + "2"]
    assert fqt("compare", "--sweep", "last")[0] == 0
    assert _asked(script)["sweep"] == SWEEP_ID
    assert "jobs" not in _asked(script)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mine"], "'mine' cannot be the id of a job — `fqt jobs` lists them: job_…"),
        (["--sweep", "mine"], "'mine' cannot be the id of a sweep"),
        (["--by", "day", JOB_ID], "'day' is not one of 'step', 'epoch', 'time'"),
    ],
)
def test_what_cannot_be_compared_is_told(fqt: Run, script: Script, arguments: list[str], said: str) -> None:
    code, out, err = fqt("compare", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert script.requests == []


def test_without_a_choice_the_newest_that_succeeded_are_compared(fqt: Run, script: Script) -> None:
    rows = [job("succeeded") | {"id": f"{JOB_ID[:-1]}{number}"} for number in range(7)]
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": rows, "has_more": False}))
    assert fqt("compare")[1].startswith("The newest jobs that have succeeded; name others")
    assert _asked(script)["jobs"] == [row["id"] for row in rows[:5]]
    assert script.seen("GET", "/v1/jobs")[-1].url.params["state"] == "succeeded"
    assert json.loads(fqt("compare", "--json")[1])["jobs"]
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": [], "has_more": False}))
    code, out, err = fqt("compare")
    assert (code, out) == (4, "")
    assert "no job has succeeded yet" in err


def test_what_a_name_says_already_and_what_is_not_there_is_left_out(fqt: Run, script: Script) -> None:
    other = compared(2, [1.0], parameters={"method.name": "qat"}, metrics=[], result={})
    one = compared(1, [1.0], parameters={"method.name": "fqt", "method.bits": 4})
    two = comparison(one, other, equal={"dataset": "digits", "training": {"epochs": 2}})
    script.on("POST", "/v1/compare", httpx.Response(200, json=two))
    _, out, _ = fqt("compare", JOB_ID)
    assert out.splitlines()[0].split()[3:5] == ["learning_rate", "method.name"]
    assert "Only some have, with the same value: method.bits" in out
    assert 'training {"epochs": 2}' in out
    assert out.count("run 2") == 1  # it has no curve
    script.on("POST", "/v1/compare", httpx.Response(200, json=comparison(other)))
    assert "None of them has reported these metrics yet." in fqt("compare", JOB_ID)[1]
    assert RATE in out or "learning_rate" in out


def test_curves_end_where_they_end_and_lost_values_leave_no_hole() -> None:
    assert sparkline_over([0, 1, 2, 3], [0.0, None, 1.0, 1.0], (0, 7), (0.0, 1.0), width=8) == "▁▁██"
    assert sparkline_over([2, 3], [1.0, 0.0], (0, 3), (0.0, 1.0), width=4) == "  █▁"
    assert sparkline_over([0], [5.0], (0, 0), (5.0, 5.0), width=4) == "▁"
    assert sparkline_over([0, 1], [None, None], (0, 1), (0.0, 1.0)) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.00300001, "0.003"), (4111.57, "4112"), (1.5545e-06, "1.554e-06"), (2e7, "2e+07"), (0.0, "0")],
)
def test_figures_are_short(value: float | None, text: str) -> None:
    assert figure_text(value) == text


def test_values_of_specs_are_short() -> None:
    assert [value_text(value) for value in (None, True, 3, "adam", 0.1, {"a": [1]})] == [
        "null",
        "true",
        "3",
        "adam",
        "0.1",
        '{"a": [1]}',
    ]
