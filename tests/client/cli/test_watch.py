from __future__ import annotations

import json

import httpx

from tests.client.cli.running import PATH, Run, run_through
from tests.client.fake import JOB_ID, Script, job

SPEC = {
    "task": "tabular",
    "architecture": None,
    "table": {"target": "price"},
    "method": {"name": "gbdt"},
    "training": {"epochs": 10},
}


def test_watch_tells_epochs_warnings_and_the_outcome_in_plain_lines(fqt: Run, script: Script) -> None:
    run_through(script)
    code, out, err = fqt("watch", JOB_ID)
    assert code == 0
    assert "step 4/4 · epoch 2.0/2 · loss" in out
    assert "accuracy 87.5 % · gradient cosines 0.12 to 0.50 · 50 images/s" in out
    assert "warning: the kernels are the slow ones" in out
    assert out.splitlines()[-1].endswith("succeeded · 1:07 min · accuracy 87.5 %")
    assert err == ""


def test_watch_of_a_job_that_fails_ends_with_1_and_the_field(fqt: Run, script: Script) -> None:
    run_through(script, "failed")
    code, out, _ = fqt("watch", JOB_ID)
    assert code == 1
    assert "training.learning_rate: the loss is not finite" in out.splitlines()[-1]


def test_watch_as_json_lines_ends_with_the_job(fqt: Run, script: Script) -> None:
    run_through(script)
    code, out, _ = fqt("watch", JOB_ID, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["seq"] for line in lines[:-1]] == list(range(1, 11))
    assert lines[-1]["object"] == "job"


def test_ctrl_c_leaves_the_job_running_and_says_so(fqt: Run, script: Script) -> None:
    run_through(script)

    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    script.on("GET", f"{PATH}/events/stream", interrupt)
    code, _, err = fqt("watch", JOB_ID)
    assert code == 130
    assert f"the job goes on. Watch again: fqt watch {JOB_ID}" in err
    assert not script.seen("POST", f"{PATH}/cancel")


def test_a_job_on_a_table_tells_rows_and_what_it_explains(fqt: Run, script: Script) -> None:
    run_through(script)
    result = {"tabular": {"kept": {"validation_r2": 0.8125}}, "validation_accuracy": None}
    script.on("GET", PATH, httpx.Response(200, json=job("succeeded", result=result) | {"spec": SPEC}))
    code, out, _ = fqt("watch", JOB_ID)
    assert code == 0
    assert "step 4/4 · loss" in out
    assert "50 rows/s" in out
    assert out.splitlines()[-1].endswith("R² 0.812")
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [], "has_more": False}))
    code, out, _ = fqt("show", JOB_ID)
    assert code == 0
    assert "price" in out
    assert "0.8125" in out
    assert "epochs" not in out
    script.on(
        "GET", "/v1/jobs", httpx.Response(200, json={"data": [job("succeeded") | {"spec": SPEC}], "has_more": False})
    )
    assert "gbdt" in fqt("jobs")[1]
