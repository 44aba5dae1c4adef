from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.client.cli.running import PATH, Run
from tests.client.fake import JOB_ID, Script, job, problem


def test_submit_sends_what_the_options_say(fqt: Run, script: Script, tmp_path: Path) -> None:
    script.on("POST", "/v1/jobs", httpx.Response(201, json=job("queued")))
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": [job("succeeded")], "has_more": False}))
    spec = tmp_path / "spec.json"
    spec.write_text('{"method": {"name": "qat", "weight_scale": "none"}, "training": {"seed": 1, "epochs": 2}}')
    arguments = ["--dataset", "digits", "--method", "fqt", "--bits", "2", "--epochs", "3", "--classes", "5, 6"]
    arguments += ["--optimizer", "muon", "--teacher", "last", "--set", "training.ema.decay=0.9"]
    arguments += ["--width", "0.25", "--from", "last", "--set", "training.augment.pad_crop=2", "--set", "name=seven"]
    code, out, _ = fqt("submit", *arguments, "--spec", str(spec))
    assert code == 0
    assert JOB_ID in out
    assert json.loads(script.seen("POST", "/v1/jobs")[0].content) == {
        "dataset": "digits",
        "classes": ["5", "6"],
        "method": {"name": "fqt", "bits": 2},  # another method: the options of the old one are gone
        "architecture": {"name": "resnet18", "width": 0.25},
        "training": {"seed": 1, "epochs": 3, "optimizer": "muon", "augment": {"pad_crop": 2}, "ema": {"decay": 0.9}},
        "initial_weights": JOB_ID,
        "teacher": JOB_ID,
        "name": "seven",
    }


def test_a_network_that_a_search_has_found_is_trained(fqt: Run, script: Script) -> None:
    network = {"name": "convnet", "widths": [8, 16, 8, 8, 8, 24]}
    script.on("POST", "/v1/jobs", httpx.Response(201, json=job("queued")))
    script.on("GET", PATH, httpx.Response(200, json=job("succeeded", record={"structure": {"architecture": network}})))
    assert fqt("submit", "--dataset", "digits", "--structure-from", JOB_ID, "--method", "qat")[0] == 0
    assert json.loads(script.seen("POST", "/v1/jobs")[0].content) == {
        "dataset": "digits",
        "method": {"name": "qat"},
        "architecture": network,
    }
    script.on("GET", PATH, httpx.Response(200, json=job("running", record={"arithmetic": "simulated"})))
    code, _, err = fqt("submit", "--dataset", "digits", "--structure-from", JOB_ID)
    assert (code, "has found no network" in err, len(script.seen("POST", "/v1/jobs"))) == (2, True, 1)
    assert fqt("submit", "--dataset", "digits", "--structure-from", JOB_ID, "--width", "0.5")[0] == 2


def test_the_newest_data_set_is_the_last_one_that_was_uploaded(fqt: Run, script: Script) -> None:
    script.on("POST", "/v1/jobs", httpx.Response(201, json=job("queued")))
    rows = [{"id": "digits"}, *({"id": f"ds_{n}", "created_at": f"2026-01-0{n}T00:00:00Z"} for n in (3, 2, 1))]
    script.on("GET", "/v1/datasets", httpx.Response(200, json={"data": rows, "has_more": False}))
    assert fqt("submit", "--dataset", "last")[0] == 0
    assert json.loads(script.seen("POST", "/v1/jobs")[0].content)["dataset"] == "ds_3"
    script.on("GET", "/v1/datasets/ds_3", httpx.Response(200, json=rows[1]))
    assert json.loads(fqt("datasets", "show", "last", "--json")[1]) == rows[1]
    script.on("GET", "/v1/datasets", httpx.Response(200, json={"data": rows[:1], "has_more": False}))
    code, _, err = fqt("submit", "--dataset", "last")
    assert (code, err) == (4, "fqt: there are no data sets yet — make one: fqt datasets add DIR\n")


def test_a_dry_run_shows_what_keeps_the_job_from_running(fqt: Run, script: Script) -> None:
    warning = {"field": "device", "message": "no worker serves 'cuda'", "allowed": ["cpu"]}
    advice = {"field": "training.epochs", "message": "2 steps are few"}
    seen = {"image_size": 32, "channels": 3, "found": {"width": 500, "height": 375, "channels": 1}}
    plan = {"object": "plan", "warnings": [warning], "advice": [advice], "input": seen}
    script.on("POST", "/v1/jobs", httpx.Response(200, json=plan))
    code, out, _ = fqt("submit", "--dataset", "digits", "--dry-run")
    assert code == 0
    assert "32x32 pixels, RGB; the images have 500x375 pixels, grey" in out
    assert out.splitlines()[-2:] == [
        "warning: device: no worker serves 'cuda' (allowed: cpu)",
        "warning: training.epochs: 2 steps are few",
    ]


def test_bits_that_the_job_chooses_are_asked_for_by_a_budget_and_shown(fqt: Run, script: Script) -> None:
    plan = {"object": "plan", "gradient_bits": 2.0, "bits_are_chosen": True}
    script.on("POST", "/v1/jobs", httpx.Response(200, json=plan))
    code, out, _ = fqt("submit", "--dataset", "digits", "--bits", "auto", "--budget", "2", "--dry-run")
    assert code == 0
    assert json.loads(script.seen("POST", "/v1/jobs")[0].content)["method"] == {
        "name": "fqt",
        "bits": "auto",
        "budget": 2.0,
    }
    assert "at most 2 bits per element on average, chosen layer by layer when the job starts" in out
    layers = {"a": {"bits": 2.0, "keep": 0.375, "clip": 3.0}, "b": {"bits": 32, "keep": 1.0, "clip": None}}
    chosen = {"average_bits": 1.9, "seconds": 2.25, "layers": layers}
    script.on("GET", PATH, httpx.Response(200, json=job("running", record={"bits_chosen": chosen})))
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [], "has_more": False}))
    code, out, _ = fqt("show", JOB_ID)
    assert code == 0
    assert "1.9 on average, chosen in 2.2 s: a 2 bits of 0.375 clip 3, b 32 bits of 1" in " ".join(out.split())


def test_a_job_in_several_processes_is_asked_for_and_tells_what_they_sent(fqt: Run, script: Script) -> None:
    script.on("POST", "/v1/jobs", httpx.Response(201, json=job()))
    code, _, _ = fqt(
        "submit", "--dataset", "digits", "--set", "parallel.processes=2", "--set", "parallel.gradient_bits=4"
    )
    assert code == 0
    asked = json.loads(script.seen("POST", "/v1/jobs")[0].content)["parallel"]
    assert asked == {"processes": 2, "gradient_bits": 4}
    told = {"processes": 2, "gradient_bits": 4, "bytes_sent": 1000, "full_precision_bytes": 8000}
    divided = job("running", record={"gradients_exchanged": told})
    divided["spec"]["parallel"] = asked
    script.on("GET", PATH, httpx.Response(200, json=divided))
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [], "has_more": False}))
    code, out, _ = fqt("show", JOB_ID)
    assert code == 0
    assert "2, gradients at 4 bits: 1000 bytes sent by each, 7000 bytes (87.5%) saved" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "--dataset", "digits", "--learning-rate", "nan"], "training.learning_rate: nan is no number"),
        (["submit", "--dataset", "digits", "--learning-rate", "inf"], "training.learning_rate: inf is no number"),
        (["submit", "--dataset", "digits", "--width", "nan", "--dry-run"], "architecture.width: nan is no number"),
        (["submit", "--dataset", "digits", "--set", "training.augment.x=[1, NaN]"], "training.augment.x.1: nan"),
        (["submit", "--dataset", "digits", "--name", "\udcff"], "name: '\\udcff' is not valid Unicode"),
        (["submit", "--dataset", "digits", "--idempotency-key", "ä€"], "Idempotency-Key is 'ä€'; only visible ASCII"),
        (["submit", "--dataset", "digits", "--idempotency-key", "a\nb"], "Idempotency-Key is 'a\\nb'; only visible"),
        (["show", "../keys"], "'../keys' cannot be the id of a job — `fqt jobs` lists them"),
        (["watch", "../../healthz"], "'../../healthz' cannot be the id of a job"),
        (["datasets", "show", "../jobs/last"], "'../jobs/last' cannot be the id of a data set"),
        (["cancel", "a?b"], "'a?b' cannot be the id of a job"),
    ],
)
def test_what_cannot_be_sent_is_named_and_not_sent(fqt: Run, script: Script, arguments: list[str], said: str) -> None:
    code, out, err = fqt(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert script.requests == []


def test_refusals_name_every_field_and_end_with_4(fqt: Run, script: Script) -> None:
    faults = [
        {"field": "training.epochs", "message": "too small", "allowed": {"minimum": 1}},
        {"field": "b", "message": "x"},
    ]
    script.on("POST", "/v1/jobs", problem(422, "validation_error", "Some fields are wrong.", errors=faults))
    code, out, err = fqt("submit", "--dataset", "digits")
    assert (code, out) == (4, "")
    assert err == "fqt: training.epochs: too small (allowed: at least 1); b: x\n"


def test_a_target_makes_it_a_job_on_a_table(fqt: Run, script: Script) -> None:
    script.on("POST", "/v1/jobs", httpx.Response(201, json=job("queued")))
    arguments = ["--dataset", "ds_1", "--target", "price", "--set", "method.iterations=50", "--seed", "3"]
    assert fqt("submit", *arguments)[0] == 0
    spec = {
        "task": "tabular",
        "dataset": "ds_1",
        "table": {"target": "price"},
        "method": {"name": "gbdt", "iterations": 50},
        "training": {"seed": 3},
    }
    assert json.loads(script.seen("POST", "/v1/jobs")[0].content) == spec
    plan = {"object": "plan", "spec": spec, "train_images": 80, "validation_images": 20, "parameters": 0, "presets": []}
    script.on("POST", "/v1/jobs", httpx.Response(200, json=plan))
    code, out, _ = fqt("submit", *arguments, "--dry-run")
    assert code == 0
    assert "rows" in out
    assert "80 to train on" in out
    assert "parameters" not in out
