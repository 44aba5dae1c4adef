"""A user's script that calls everything public. It is type-checked with the client installed, and not run.

Each `type: ignore` is one that mypy must need: were a type lost (`Any`), it would be reported as unused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from fqt_client import (
    Artifact,
    AsyncClient,
    Choice,
    Client,
    Comparison,
    Dataset,
    Event,
    Export,
    Job,
    Listing,
    Model,
    Page,
    Plan,
    Prediction,
    ReportRow,
    RowPrediction,
    Series,
    Sweep,
    SweepPlan,
)


def blocking(client: Client) -> None:
    with client:
        methods: Listing[Choice] = client.methods()
        architectures: Listing[Choice] = client.architectures()
        ready = bool(client.ready()["worker"])
        dataset: Dataset = client.datasets.upload("photos", name="x", progress=print, wait=1.0)
        datasets: Iterator[Dataset] = client.datasets.list()
        datasets_page: Page[Dataset] = client.datasets.list_page(after=None, limit=5)
        client.datasets.delete(client.datasets.get(dataset.id).id)
        dataset = client.datasets.from_url("https://example.com/a.zip", name="x", sha256=None, wait=1.0)
        dataset = client.datasets.from_folder(client.datasets.folders()[0])
        sheet: bytes = client.datasets.thumbnails(dataset.id)
        job: Job = client.jobs.submit(dataset.id, method="fqt", training={"epochs": 1}, priority=1)
        job = client.jobs.create({"dataset": "digits"}, idempotency_key="k")
        plan: Plan = client.jobs.plan({"dataset": "digits"})
        jobs: Iterator[Job] = client.jobs.list(state="running")
        jobs_page: Page[Job] = client.jobs.list_page(limit=1)
        for step in (client.jobs.get, client.jobs.pause, client.jobs.resume, client.jobs.cancel):
            job = step(job.id)
        events: Iterator[Event] = client.jobs.events(job.id, after=3, follow=False)
        series: Listing[Series] = client.jobs.metrics(job.id, names=["loss"], kind="step", max_points=10)
        artifacts: Listing[Artifact] = client.jobs.artifacts(job.id)
        path: Path = client.jobs.download(job.id, client.jobs.artifact(job.id, "model"), "m", progress=None)
        wrong: int = client.jobs.wait(job.id, timeout=1.0, check=False)  # type: ignore[assignment]
        client.jobs.delete(job.id)
        client.jobs.submit(7)  # type: ignore[arg-type]
        client.jobs.submit("digits", epochs=3)  # type: ignore[call-arg]
        print(methods, architectures, ready, datasets, datasets_page, plan, jobs, jobs_page, events, series, artifacts)
        print(path, wrong, sheet)
    models_and_sweeps(client)
    client.close()


def models_and_sweeps(client: Client) -> None:
    models: Iterator[Model] = client.models.list(job="job_1")
    models_page: Page[Model] = client.models.list_page(limit=1)
    model: Model = client.models.upload("m.safetensors", name="x")
    model = client.models.get(model.id)
    card: str = client.models.card(model.id)
    path: Path = client.models.download(model, "m")
    predictions: Sequence[Prediction] = client.models.predict(model.id, ["a.png", b"png"], top_k=2)
    values: Sequence[RowPrediction] = client.models.predict_rows(model.id, [{"age": 7, "kind": None}])
    export: Export = client.models.export(model.id, "onnx")
    path = client.models.download_export(export, ".")
    client.models.delete(model.id)
    space = {"training.learning_rate": {"type": "choice", "values": [0.1]}}
    plan: SweepPlan = client.sweeps.plan({"dataset": "digits"}, space, algorithm="grid")
    sweep: Sweep = client.sweeps.create({"dataset": "digits"}, space, algorithm="grid")
    sweeps: Iterator[Sweep] = client.sweeps.list()
    changes: Iterator[Sweep] = client.sweeps.follow(sweep.id)
    sweeps_page: Page[Sweep] = client.sweeps.list_page(limit=1)
    sweep = client.sweeps.wait(client.sweeps.cancel(client.sweeps.get(sweep.id).id).id, timeout=1.0)
    rows: Sequence[ReportRow] = client.sweeps.report(sweep.id).rows
    client.sweeps.delete(sweep.id)
    comparison: Comparison = client.compare(["job_1"], sweep=sweep.id, align="time")
    wrong: int = client.models.get("mdl_1")  # type: ignore[assignment]
    client.sweeps.get(7)  # type: ignore[arg-type]
    print(
        models,
        models_page,
        card,
        path,
        predictions,
        plan,
        sweeps,
        sweeps_page,
        comparison,
        wrong,
        changes,
        rows,
        values,
    )


async def asynchronous(client: AsyncClient) -> None:
    async with client:
        job: Job = await client.jobs.get("job_1", curves=True)
        events: AsyncIterator[Event] = client.jobs.events(job.id)
        series: Listing[Series] = await client.jobs.metrics(job.id)
        wrong: Job = client.jobs.cancel(job.id)  # type: ignore[assignment]
        model: Model = await client.models.get("mdl_1")
        print(model, (await client.sweeps.get("swp_1")).id, await client.compare(["job_1"]))
        print(events, series, wrong, [entry.accuracy async for entry in client.jobs.list()])
