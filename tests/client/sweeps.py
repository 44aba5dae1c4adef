"""A sweep and a comparison of a scripted service."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import httpx

from tests.client.fake import JOB_ID, Script

SWEEP_ID = "swp_01JD0000000000000000000000"
PATH = f"/v1/sweeps/{SWEEP_ID}"
RATE = "training.learning_rate"


def trial(number: int, value: float | None, **more: Any) -> dict[str, Any]:
    ended = {"state": "succeeded", "finished_at": f"2026-01-02T03:05:{number:02}Z"} if value is not None else {}
    epochs = {"1": value / 2, "2": value} if value is not None else {"1": 0.25}
    told = {"number": number, "job": JOB_ID, "state": "running", "parameters": {RATE: 10.0**-number}, "value": value}
    return {**told, "epochs": epochs, "reason": None, **ended, **more}


def sweep(*trials: dict[str, Any], state: str = "running", jobs: int = 4, **more: Any) -> dict[str, Any]:
    ended = [entry for entry in trials if entry["value"] is not None]
    states = [entry["state"] for entry in trials]
    return {
        "id": SWEEP_ID,
        "object": "sweep",
        "name": "rates",
        "state": state,
        "spec": {"space": {RATE: {"type": "log_uniform"}}, "metric": "validation_accuracy", "algorithm": "tpe"},
        "direction": "maximize",
        "jobs": jobs,
        "counts": {name: states.count(name) for name in ("running", "succeeded", "pruned", "cancelled", "failed")},
        "best": max(ended, key=lambda entry: entry["value"], default=None),
        "trials": list(trials),
        "created_at": "2026-01-02T03:04:00Z",
        **more,
    }


def compared(number: int, curve: list[float | None], **more: Any) -> dict[str, Any]:
    finite = [value for value in curve if value is not None]
    metric = {
        "kind": "step",
        "name": "loss",
        "points": len(curve),
        "min": {"value": min(finite), "step": 9},
        "max": {"value": max(finite), "step": 1},
        "last": {"value": curve[-1], "step": len(curve)},
        "curve": {"x": [float(step) for step in range(len(curve))], "values": curve},
    }
    parameters = {RATE: 10.0**-number, **more.pop("parameters", {})}
    told = {"id": f"{JOB_ID[:-1]}{number}", "name": f"run {number}", "state": "succeeded", "parameters": parameters}
    return told | {"result": {"validation_accuracy": 0.5, "seconds": 3.0}, "metrics": [metric]} | more


def comparison(*jobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    differing = list(dict.fromkeys(name for job in jobs for name in job["parameters"]))
    return {"object": "comparison", "align": "step", "differing": differing, "equal": None, "jobs": list(jobs)} | more


def report_row(label: str, *values: float, failed: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    runs = [{"number": n, "job": JOB_ID, "state": "succeeded", "seed": n, "value": v} for n, v in enumerate(values)]
    runs += [{"number": 9, "state": "failed", "seed": len(values), "reason": reason} for reason in failed]
    deviation = stdev(values) if len(values) > 1 else None
    value = {"mean": fmean(values), "deviation": deviation, "count": len(values)} if values else None
    return {"label": label, "parameters": {"method": {"name": label}}, "runs": runs, "value": value, **more}


def report(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    told = {"object": "sweep_report", "sweep": SWEEP_ID, "name": "methods on digits", "state": "finished"}
    found = {"metric": "validation_accuracy", "direction": "maximize", "base": {"dataset": "digits"}}
    return told | found | {"rows": list(rows)} | more


def answer(script: Script) -> None:
    """Script the routes of a sweep that runs, and then has finished; and a comparison of two jobs."""
    first, second = trial(1, 0.5), trial(2, 0.75)
    running = sweep(first, trial(2, None))
    finished = sweep(first, second, state="finished", jobs=2)
    listed = {"data": [running | {"trials": []}], "has_more": False}
    script.on("GET", "/v1/sweeps", httpx.Response(200, json=listed))
    script.on("POST", "/v1/sweeps", httpx.Response(201, json=running))
    script.on("GET", PATH, *(httpx.Response(200, json=found) for found in (running, running, finished)))
    script.on("GET", f"{PATH}/report", httpx.Response(200, json=report(report_row("fqt", 0.5, 0.75))))
    script.on("POST", f"{PATH}/cancel", httpx.Response(200, json=running | {"state": "cancelled"}))
    script.on("DELETE", PATH, httpx.Response(204))
    two = comparison(compared(1, [2.0, 1.0, None, 0.5]), compared(2, [2.0, 1.5]))
    script.on("POST", "/v1/compare", httpx.Response(200, json=two))
