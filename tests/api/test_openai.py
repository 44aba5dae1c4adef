"""OpenAI's stock client against a real service: an API process, a broker, and a worker that trains."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi.testclient import TestClient
from openai import OpenAI

from api.openai.requests import NewFineTuningJob
from api.problems import Invalid, ProblemDocument
from jobs.store import Store
from tests.api.conftest import Attempt, archive
from tests.api.process import Api
from tests.worker.processes import REAL, Process

TINY: dict[str, Any] = {"architecture": {"width": 0.0625, "image_size": 8, "channels": 1}}


@pytest.fixture
def stock(api: Api) -> Iterator[OpenAI]:
    key = api.settings.key_path.read_text().strip()
    with OpenAI(base_url=f"http://127.0.0.1:{api.port}/openai/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
def worker(api: Api, stock: OpenAI) -> Iterator[Process]:
    process = Process(api.settings, REAL, threads=1, poll_seconds=0.2)
    yield process
    assert process.end() == 0, process.log.read_text()


def _until(stock: OpenAI, job: str, *statuses: str) -> Any:
    deadline = time.monotonic() + 90
    while (found := stock.fine_tuning.jobs.retrieve(job)).status not in statuses:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_the_stock_client_drives_a_job_from_upload_to_result(stock: OpenAI, worker: Process, tmp_path: Path) -> None:
    path = tmp_path / "shapes.zip"
    path.write_bytes(archive(images=40))
    with path.open("rb") as file:
        uploaded = stock.files.create(file=file, purpose="fine-tune")
    assert (uploaded.object, uploaded.status, uploaded.filename) == ("file", "processed", "shapes.zip")
    assert uploaded.bytes == path.stat().st_size
    assert stock.files.retrieve(uploaded.id) == uploaded
    assert [file.id for file in stock.files.list(purpose="fine-tune")] == [uploaded.id]
    assert list(stock.files.list(purpose="batch")) == []
    assert {"resnet18", "vgg16"} <= {model.id for model in stock.models.list()}

    jobs = stock.fine_tuning.jobs
    job = jobs.create(
        model="resnet18",
        training_file=uploaded.id,
        method={"type": "fqt", "fqt": {"bits": 4, "hyperparameters": {"n_epochs": 3, "batch_size": 16}}},  # type: ignore[typeddict-item]
        seed=7,
        suffix="shapes",
        metadata={"project": "tests"},
        extra_body=TINY | {"training": {"checkpoint_every_steps": 1}},
    )
    assert (job.object, job.status, job.model, job.seed) == ("fine_tuning.job", "queued", "resnet18", 7)
    assert (job.training_file, job.metadata) == (uploaded.id, {"project": "tests"})
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (3, 16)
    done = _until(stock, job.id, "succeeded", "failed", "cancelled")
    assert done.status == "succeeded", done.error
    assert done.fine_tuned_model == job.id
    assert done.finished_at is not None

    events = list(jobs.list_events(job.id, limit=3))  # turns pages by itself
    first = jobs.list_events(job.id, limit=100)
    assert [event.id for event in events] == [event.id for event in first.data]
    assert events[0].message == "the job is succeeded (finished)"
    assert events[-1].message == "the job is queued (created)"
    assert {"message", "metrics"} == {str(event.type) for event in events}
    assert len(events) > 10
    kept = list(jobs.checkpoints.list(job.id, limit=1))
    assert [row.step_number for row in kept] == sorted({row.step_number for row in kept}, reverse=True)
    assert len(kept) == 2
    assert kept[0].fine_tuning_job_id == job.id

    going_on = jobs.create(model=job.id, training_file=uploaded.id, hyperparameters={"n_epochs": 1})
    assert going_on.model == "resnet18"  # with the options of the job that it goes on from
    assert _until(stock, going_on.id, "succeeded", "failed").status == "succeeded"
    assert stock.files.delete(uploaded.id).deleted


def test_the_stock_client_steers_lists_and_is_told_what_is_wrong(stock: OpenAI, shared_store: Store) -> None:
    jobs = stock.fine_tuning.jobs
    made = [jobs.create(model="resnet18", training_file="digits", extra_body=TINY).id for _ in range(5)]
    assert [job.id for job in jobs.list(limit=2)] == made[::-1]
    assert jobs.pause(made[0]).status == "paused"
    assert jobs.resume(made[0]).status == "queued"
    assert jobs.cancel(made[0]).status == "cancelled"
    assert jobs.list(limit=1).has_more

    attempt = Attempt(shared_store, made[1])
    assert jobs.retrieve(made[1]).status == "validating_files"
    attempt.report(("log", {"level": "info", "message": "on"}), progress={"total_steps": 9, "eta_seconds": 60.0})
    running = jobs.retrieve(made[1])
    assert running.status == "running"
    assert running.estimated_finish is not None
    assert 50 < running.estimated_finish - time.time() < 70
    assert jobs.cancel(made[1]).status == "running"  # asked for, and not reached yet
    attempt.succeed()
    assert jobs.retrieve(made[1]).status == "succeeded"

    with pytest.raises(openai.NotFoundError) as missing:
        jobs.retrieve("job_" + "0" * 26)
    assert missing.value.type == "not_found_error"
    assert missing.value.code == "not_found"
    assert missing.value.request_id is not None
    assert missing.value.request_id.startswith("req_")
    problem = ProblemDocument.model_validate(missing.value.response.json())  # our document, with a member more
    assert (problem.status, problem.request_id) == (404, missing.value.request_id)
    assert missing.value.response.headers["content-type"] == "application/problem+json"
    with pytest.raises(openai.UnprocessableEntityError) as wrong:
        jobs.create(model="gpt-4o-mini", training_file="digits", hyperparameters={"n_epochs": 0})
    assert wrong.value.param in {"model", "hyperparameters.n_epochs"}
    assert {"architecture.name", "training.epochs"} == {row["field"] for row in wrong.value.response.json()["errors"]}
    with pytest.raises(openai.UnprocessableEntityError) as orphan:
        jobs.create(model="job_" + "0" * 26, training_file="digits")
    assert orphan.value.param == "model"
    with pytest.raises(openai.BadRequestError) as malformed:
        jobs.create(model="resnet18", training_file="digits", metadata={"a": "\x00"})
    assert malformed.value.code == "malformed_body"
    with pytest.raises(openai.UnprocessableEntityError) as rejected:
        stock.files.create(file=("a.txt", b"no archive"), purpose="batch")
    assert rejected.value.param == "purpose"
    eager = stock.with_options(max_retries=2)
    begin = time.monotonic()
    with pytest.raises(openai.ConflictError):  # told not to repeat it
        eager.fine_tuning.jobs.cancel(made[1])
    assert time.monotonic() - begin < 0.4
    with pytest.raises(openai.AuthenticationError):
        stock.with_options(api_key="fqt_wrong").models.list()
    with pytest.raises(openai.NotFoundError):
        stock.chat.completions.create(model="resnet18", messages=[])


@pytest.mark.parametrize(
    ("body", "spec"),
    [
        ({}, {}),
        (
            {"hyperparameters": {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 0.5}},
            {"training": {"epochs": 3, "learning_rate": 0.0015}},
        ),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 8}}}, "seed": 3},
            {"training": {"batch_size": 8, "seed": 3}},
        ),
        ({"method": {"type": "psq", "psq": {"bits": 5}}}, {"method": {"name": "psq", "bits": 5}}),
        ({"method": {"type": "fp32"}}, {"method": {"name": "fp32"}}),
        ({"method": {"type": "supervised", "supervised": {"bits": 2}}}, {"method": {"name": "fqt", "bits": 2}}),
        ({"training": {"seed": 1}, "priority": 3, "seed": 2}, {"training": {"seed": 2}, "priority": 3}),
    ],
)
def test_requests_in_openai_s_words_are_specs_in_ours(body: dict[str, Any], spec: dict[str, Any]) -> None:
    given = NewFineTuningJob.model_validate({"model": "resnet18", "training_file": "digits", **body})
    assert given.spec() == {"dataset": "digits", "architecture": {"name": "resnet18"}, **spec}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"method": {"type": "fqt", "bits": 4}}, "method.bits"),
        ({"method": {"type": "fqt", "fqt": 4}}, "method.fqt"),
        ({"hyperparameters": {"learning_rate_multiplier": "much"}}, "hyperparameters.learning_rate_multiplier"),
        ({"training": 3}, "training"),
        ({"architecture": "x"}, "architecture"),
        ({"dataset": "digits"}, "dataset"),
    ],
)
def test_what_is_put_together_wrongly_is_told(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as problem:
        NewFineTuningJob.model_validate({"model": "resnet18", "training_file": "digits", **body}).spec()
    assert [error.field for error in problem.value.errors] == [field]


def test_what_openai_has_and_this_service_has_not_is_refused(client: TestClient) -> None:
    body = {"model": "resnet18", "training_file": "digits", "validation_file": "x", "integrations": [{"type": "wandb"}]}
    answer = client.post("/openai/v1/fine_tuning/jobs", json=body)
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"validation_file", "integrations"}
    assert answer.json()["error"]["param"] == "validation_file"
    many = {"model": "resnet18", "training_file": "digits", "metadata": {str(n): "" for n in range(17)}}
    assert client.post("/openai/v1/fine_tuning/jobs", json=many).status_code == 422


def test_a_repeated_request_makes_one_job(client: TestClient) -> None:
    body = {"model": "resnet18", "training_file": "digits", "metadata": {"a": "b"}, **TINY}
    headers = {"Idempotency-Key": "once"}
    first, again = (client.post("/openai/v1/fine_tuning/jobs", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, first.json()["id"]) == (200, again.json()["id"])
    assert again.headers["idempotent-replayed"] == "true"
    other = client.post("/openai/v1/fine_tuning/jobs", json=body | {"metadata": {"a": "c"}}, headers=headers)
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert client.get(f"/v1/jobs/{first.json()['id']}").json()["labels"] == {"a": "b"}
    assert len(client.get("/v1/jobs").json()["data"]) == 1
