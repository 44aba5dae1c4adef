"""One command line, and a job that ran through."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from tests.client.fake import JOB_ID, Script, event, job, stream

PATH = f"/v1/jobs/{JOB_ID}"


Run = Callable[..., tuple[int, str, str]]


def run_through(script: Script, state: str = "succeeded") -> None:
    log = event(2, "log", message="training", started={"total_steps": 4, "epochs": 2})
    steps = [event(2 + n, kind="step", step=n, epoch=n / 2, loss=1 / n, images_per_second=50.0) for n in range(1, 5)]
    cosines = {"conv1": {"accumulated_dw_cosine": 0.125}, "conv2": {"accumulated_dw_cosine": 0.5}, "conv3": {}}
    noise = event(7, kind="telemetry", step=4, images=16, layers=cosines)
    epoch = event(8, kind="epoch", step=4, epoch=2, train_loss=0.5, validation_accuracy=0.875)
    warning = event(9, "warning", code="slow", message="the kernels are the slow ones")
    last = event(10, "state", **{"from": "running", "to": state, "reason": "done"})
    script.on(
        "GET",
        f"{PATH}/events/stream",
        stream(event(1, "state", to="running"), log, *steps, noise, epoch, warning, last, end=True),
    )
    error = {"code": "nan", "message": "the loss is not finite", "param": "training.learning_rate"}
    times = {"started_at": "2026-01-02T03:04:05Z", "finished_at": "2026-01-02T03:05:12Z"}
    script.on("GET", PATH, httpx.Response(200, json=job(state, error=error if state == "failed" else None, **times)))
