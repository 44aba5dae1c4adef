"""Jobs on tables: what of a spec means something for trees, whether the table has what it names, and what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fqt_core.config import Gbdt, TrainConfig
from fqt_core.config.table import Objective, settled_objective, target_fault
from jobs.datasets import DatasetSource
from jobs.errors import SpecFault
from jobs.spec import JobSpec
from jobs.steps import held

KNOWN_TRAINING = frozenset({"seed", "validation_fraction", "early_stopping_patience"})
"""Fields of ``training`` that trees heed."""

# Measured: a process with LightGBM and Arrow, and what a value of a CSV file takes from reading to growing.
_PROCESS_BYTES = 220 * 2**20
_VALUE_BYTES = 80
_LEAF_BYTES = 110  # of LightGBM's text
_SHOWN = 50

_INSTEAD = {
    "epochs": "; `method.iterations` says how many trees",
    "learning_rate": "; trees have `method.learning_rate`",
    "checkpoint_every_steps": ": a checkpoint is written every 20 iterations",
}


@dataclass(frozen=True)
class Rows:
    """What a table gives to a job: its objective, the classes (none in regression), and rows with a target."""

    objective: Objective
    classes: list[str]
    train: int
    validation: int


def meaningless(spec: JobSpec) -> list[SpecFault]:
    """Fields that say something that trees cannot heed."""
    faults = []
    for field in ("classes", "initial_weights", "teacher", "search", "parallel"):
        if getattr(spec, field) is not None:
            faults.append(SpecFault(field, "means nothing for trees: leave it out"))
    unchanged = TrainConfig()
    for field in TrainConfig.model_fields:
        if field not in KNOWN_TRAINING and getattr(spec.training, field) != getattr(unchanged, field):
            message = f"means nothing for trees{_INSTEAD.get(field, '')}: leave it out"
            faults.append(SpecFault(f"training.{field}", message, sorted(KNOWN_TRAINING)))
    if spec.checkpoints.keep_best:
        message = "means nothing for trees: each checkpoint has all trees so far, the best ones too; leave it out"
        faults.append(SpecFault("checkpoints.keep_best", message))
    if spec.device == "cuda":
        faults.append(SpecFault("device", "trees are grown on the CPU", ["auto", "cpu"]))
    return faults


def of_images(spec: JobSpec, dataset: DatasetSource | None) -> list[SpecFault]:
    """What a job on images cannot have."""
    faults = []
    if dataset is not None and dataset.table is not None:
        faults.append(SpecFault("dataset", "is a table: use task 'tabular', and name its target in `table.target`"))
    if spec.table is not None:
        faults.append(SpecFault("table", "is for task 'tabular': use that, or leave table out"))
    if spec.method.task != "images":
        message = f"{spec.method.name!r} grows trees from a table: use task 'tabular', or another method"
        faults.append(SpecFault("method.name", message))
    return faults


def rows(spec: JobSpec, dataset: DatasetSource, faults: list[SpecFault]) -> Rows | None:
    """What the table gives to the job; ``None``, and faults, if it cannot be learned from as the spec says."""
    if dataset.table is None:
        faults.append(SpecFault("dataset", "holds images: upload a CSV or Parquet file for task 'tabular'"))
        return None
    columns = dataset.table["columns"]
    usable = [column["name"] for column in columns if column["kind"] != "skipped"]
    if spec.table is None:
        message = "say which column is predicted: `table.target`"
        faults.append(SpecFault("table", message, usable[:_SHOWN]))
        return None
    by_name = {column["name"]: column for column in columns}
    for number, name in enumerate(spec.table.ignore):
        if name not in by_name:
            faults.append(SpecFault(f"table.ignore.{number}", f"there is no column {name!r}", list(by_name)[:_SHOWN]))
    target = by_name.get(spec.table.target)
    if target is None or target["kind"] == "skipped":
        reason = "there is no such column" if target is None else f"it cannot be learned: {target['reason']}"
        faults.append(SpecFault("table.target", f"{spec.table.target!r}: {reason}", usable[:_SHOWN]))
        return None
    if not set(usable) - {spec.table.target, *spec.table.ignore}:
        faults.append(SpecFault("table.ignore", "leaves no column to learn from"))
    return _rows(spec, dataset.table["rows"], target, faults)


def _rows(spec: JobSpec, number: int, target: dict[str, Any], faults: list[SpecFault]) -> Rows | None:
    assert spec.table is not None
    objective = settled_objective(spec.table.objective, target["kind"], target["distinct"], whole=target["whole"])
    if (fault := target_fault(objective, target["kind"], target["distinct"])) is not None:
        wrong_kind = spec.table.objective == "regression"
        faults.append(SpecFault("table.objective" if wrong_kind else "table.target", fault))
        return None
    present = number - target["missing"]
    if objective == "regression":
        counts, classes = [present], []
    elif target["values"] is None:
        message = f"has {target['distinct']} classes, and a table of so many columns may have 20: leave columns out"
        faults.append(SpecFault("table.target", message))
        return None
    else:
        counts = [entry["count"] for entry in target["values"]]
        classes = [entry["value"] for entry in target["values"]]
    aside = held(counts, spec.training.validation_fraction)
    if present - aside < 2:
        faults.append(SpecFault("dataset", f"{present} rows have a target: too few to learn from"))
    return Rows(objective, classes, present - aside, aside)


def method_of(spec: JobSpec) -> Gbdt:
    """The method of a job on a table, which its check has seen to."""
    if not isinstance(spec.method, Gbdt):
        raise TypeError(f"{spec.method.name} grows no trees")
    return spec.method


def wrong_method(spec: JobSpec, names: Iterable[str]) -> list[SpecFault]:
    """What is wrong with the method's name; ``names`` are those of the methods that grow trees."""
    if spec.method.task == "tabular":
        return []
    return [SpecFault("method.name", f"{spec.method.name!r} trains networks, not trees", sorted(names))]


def steps(method: Gbdt) -> int:
    """Boosting iterations of both runs together."""
    return method.iterations * (1 + method.compares)


def memory_bytes(table: dict[str, Any]) -> int:
    """Estimated memory of the process that grows trees from a table, as a data set's profile describes it."""
    return _PROCESS_BYTES + _VALUE_BYTES * int(table["rows"]) * len(table["columns"])


def model_bytes(method: Gbdt, classes: Sequence[str]) -> int:
    """The most that a model's text takes, about."""
    return method.iterations * (len(classes) if len(classes) > 2 else 1) * method.num_leaves * _LEAF_BYTES


def too_much(spec: JobSpec, table: dict[str, Any], most_steps: int | None, most_bytes: int | None) -> list[SpecFault]:
    """Where a job would take more than it may. ``None``: no ceiling."""
    method, faults = method_of(spec), []
    if most_steps is not None and (taken := steps(method)) > most_steps:
        runs = 1 + method.compares
        message = f"the job would take {taken} iterations in {runs} run(s), and may take {most_steps}"
        faults.append(SpecFault("method.iterations", message, {"maximum": most_steps // runs}))
    if most_bytes is not None and (planned := memory_bytes(table)) > most_bytes:
        message = f"the job would take about {planned} bytes of memory, and may take {most_bytes}; use a smaller table"
        faults.append(SpecFault("dataset", message))
    return faults
