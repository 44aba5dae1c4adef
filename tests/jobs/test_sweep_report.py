"""The report of a sweep: rows over seeds, against the figures that the jobs were made to report."""

from __future__ import annotations

from statistics import stdev
from typing import Any

import pytest

from fqt_core.config import Fqt
from fqt_core.config.cost import step_cost
from jobs import database, events, lease, sweep_report
from jobs.records import Sweep
from jobs.spec import JobSpec
from jobs.store import Store
from jobs.sweep_driver import SweepDriver
from tests.jobs import sweep_world as world
from tests.jobs.helpers import TINY, get

_METHODS: list[dict[str, Any]] = [
    {"name": "fqt", "bits": "auto"},
    {"name": "psq", "bits": 2, "weight_groups": "sample"},
]
_SPACE = {
    "method": {"type": "choice", "values": _METHODS},
    "training.seed": {"type": "choice", "values": [3, 4, 5]},
}
_CHOSEN = {"name": "fqt", "overrides": [{"pattern": "layer1.*", "bits": 2, "keep": 1.0}]}
_ACCURACY = {("fqt", 3): 0.5, ("fqt", 4): 0.75, ("fqt", 5): 0.625, ("psq", 3): 0.25}


def _work(store: Store, job_id: str) -> None:
    """Bring a job to its end: those of `psq` fail but for the first seed."""
    epoch = world.claim(store, job_id)
    spec = get(store, job_id).spec
    value = _ACCURACY.get((spec.method.name, spec.training.seed))
    with store.write() as connection:
        if value is None:
            lease.fail(connection, job_id, epoch, {"code": "nan", "message": "the loss is not finite"})
            return
        told: list[tuple[Any, Any]] = [
            (
                "metric",
                {"kind": "epoch", "epoch": n, "step": n * 10, "validation_accuracy": value * n / 3, "seconds": s},
            )
            for n, s in ((1, 9.0), (2, 2.0), (3, spec.training.seed))
        ]
        for step, (one, other) in ((1, (1.0, 8.0)), (11, (3.0, 4.0))):
            layers = {
                name: {"accumulated_dw_relative_variance": noise, "dw_relative_variance": 99.0}
                for name, noise in (("a", one), ("b", other), ("c", 100.0))
            }
            told.append(("metric", {"kind": "telemetry", "step": step, "images": 4, "layers": layers}))
        record = {"arithmetic": "integer", "isa": "avx2"}
        if spec.method.chooses_bits:
            record["bits_chosen"] = {"method": _CHOSEN}
        events.append(connection, job_id, epoch, told, values={"record": record})
        artifacts = {
            "m": {"kind": "model", "size": 1000, "sha256": ""},
            "r": {"kind": "report", "size": 5, "sha256": ""},
        }
        result = {"train_images": 100, "classes": list("ab"), "memory_bytes": 10 * spec.training.seed}
        lease.succeed(connection, job_id, epoch, result | {"artifacts": artifacts})


def _report(store: Store, sweep: Sweep) -> list[sweep_report.Row]:
    with database.snapshot(store.engine) as connection:
        return sweep_report.report(connection, sweep)


def test_rows_are_points_beside_the_seed_and_failures_stay(store: Store) -> None:
    sweep = world.create(store, base=TINY, space=_SPACE, algorithm="grid", max_jobs=None, parallel=4)
    assert _report(store, sweep) == []
    driver = SweepDriver(store, world.Silence())
    driver.run_once()
    waiting, rest = _report(store, sweep)
    assert [run.state for run in (*waiting.runs, *rest.runs)] == ["running"] * 4
    assert (waiting.value, waiting.cost, waiting.arithmetic) == (None, None, None)
    for _ in range(6):
        for trial in world.look(store, sweep)[1]:
            if trial.job_id is not None and trial.job_state == "queued":
                _work(store, trial.job_id)
        driver.run_once()

    found, half = _report(store, sweep)
    assert (found.label, half.label) == ("fqt, bits auto", "psq, bits 2, weight_groups sample")
    assert found.parameters == {"method": _METHODS[0]}
    values = [0.5, 0.75, 0.625]
    assert found.value == sweep_report.Spread(0.625, pytest.approx(stdev(values)), 3)
    assert [(run.seed, run.value, run.state) for run in found.runs] == [
        (seed, value, "succeeded") for seed, value in zip((3, 4, 5), values, strict=True)
    ]
    assert found.seconds_per_epoch is not None
    assert [run.seconds_per_epoch for run in found.runs] == [3.0, 4.0, 5.0]  # of (9, 2, seed) the middle one
    assert found.seconds_per_epoch.mean == 4.0
    assert found.memory_bytes == sweep_report.Spread(40.0, 10.0, 3)
    assert found.gradient_variance == sweep_report.Spread(6.0, 0.0, 3)  # of the layers' means 2, 6 and 100
    assert (found.model_bytes, found.arithmetic, found.kernels) == (1000, "integer", "avx2")
    spec = JobSpec.model_validate(TINY)
    chosen = Fqt.model_validate(_CHOSEN)
    assert found.cost == step_cost(spec.architecture, 2, chosen, images=100)
    assert found.steps_per_epoch == 1

    assert half.value == sweep_report.Spread(0.25, None, 1)
    assert [(run.state, run.reason, run.value) for run in half.runs[1:]] == [
        ("failed", "the loss is not finite", None)
    ] * 2
