"""What a child does that grows trees, from ``job.json`` to the result files. Imports LightGBM: for children only."""

from __future__ import annotations

import json
from pathlib import Path

from fqt_core.config.table import TableConfig
from fqt_core.config.tree_methods import Gbdt
from fqt_core.events import ArtifactWritten, LogLine, WarningRaised
from fqt_core.files import write_atomically
from fqt_core.trees.model import save_trees
from fqt_core.trees.problem import Problem, pose
from fqt_core.trees.table import read_table
from fqt_core.trees.trainer import Grown, grow
from worker.child_errors import UnusableInputError
from worker.lifeline import Lifeline
from worker.protocol import Exit, TrainingInput


def train(data: TrainingInput, folder: Path, lifeline: Lifeline) -> Exit:
    """Grow the job's trees and write its files, reporting all along.

    Raises:
        UnusableInputError: the data set is a mounted folder.
        fqt_core.errors.FqtError: whatever the library refuses.
    """
    spec = data.spec
    assert isinstance(spec.method, Gbdt)
    assert isinstance(spec.table, TableConfig)
    if data.listing is not None:
        raise UnusableInputError("a mounted folder holds images, not a table", "dataset_unusable", "dataset")
    table = read_table(data.dataset)
    for warning in table.warnings:
        lifeline.send(WarningRaised(code="table", message=warning))
    problem = pose(table, spec.table, validation_fraction=spec.training.validation_fraction, seed=spec.training.seed)
    del table
    if lifeline.stop.is_set():
        return Exit.CANCELLED if lifeline.cancel.is_set() else Exit.STOPPED
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    grown = grow(
        problem,
        spec.method,
        seed=spec.training.seed,
        threads=data.threads,
        patience=spec.training.early_stopping_patience,
        report=lifeline.send,
        should_stop=lifeline.stop.is_set,
        checkpoint_dir=checkpoints,
        resume_from=data.resume_from,
    )
    if grown is None:
        return Exit.CANCELLED if lifeline.cancel.is_set() else Exit.STOPPED
    lifeline.send(LogLine(message=_compared(grown)))
    for written in _files(data, problem, grown, folder):
        lifeline.send(written)
    lifeline.send(grown.done)
    return Exit.DONE


def _files(data: TrainingInput, problem: Problem, grown: Grown, folder: Path) -> list[ArtifactWritten]:
    """``model.txt``, ``full-precision.txt`` if there is one, and ``report.json``."""
    model, report = folder / "model.txt", folder / "report.json"
    save_trees(model, grown.model, problem)
    about = {
        "objective": problem.objective,
        "target": problem.target,
        "columns": [column.model_dump(include={"name", "kind"}) for column in problem.columns],
    }
    files = [ArtifactWritten.of("model", model, about)]
    if grown.full_precision is not None:
        other = folder / "full-precision.txt"
        save_trees(other, grown.full_precision, problem)
        files.append(ArtifactWritten.of("reference", other, {}))
    told = {
        "job": data.job_id,
        "spec": data.spec.model_dump(mode="json"),
        "result": grown.done.model_dump(mode="json", exclude={"type"}),
        "data": {
            **about,
            "classes": list(problem.classes),
            "train_rows": len(problem.train),
            "validation_rows": len(problem.validation),
            "rows_left_out": problem.left_out,
        },
    }
    write_atomically(report, (json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return [*files, ArtifactWritten.of("report", report, {})]


def _compared(grown: Grown) -> str:
    """Both models in a line for people."""
    found = grown.done.tabular
    assert found is not None
    sides = {"kept model": found.kept, "full precision": found.full_precision}
    parts = []
    for name, side in sides.items():
        if side is not None:
            loss = "" if side.validation_loss is None else f"validation loss {side.validation_loss:.5g}, "
            share = "" if side.validation_accuracy is None else f"accuracy {side.validation_accuracy:.2%}, "
            parts.append(f"{name}: {loss}{share}iteration {side.best_iteration}, {side.seconds:.2f} s")
    return "; ".join(parts)
