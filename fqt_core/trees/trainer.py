"""A whole run: trees from quantised gradients and, side by side, the same from gradients in full precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np

from fqt_core.config.tree_methods import Gbdt
from fqt_core.events import (
    Confusion,
    Done,
    EpochDone,
    Event,
    FullPrecisionDone,
    LogLine,
    Started,
    StepDone,
    TabularResult,
    TreesResult,
)
from fqt_core.trees.boosting import Grower, Growth, Iteration, Scores
from fqt_core.trees.checkpoint import Checkpoint, identity_of, read_checkpoint, write_checkpoint
from fqt_core.trees.model import TreeFacts, TreeModel
from fqt_core.trees.problem import Problem

_UNKNOWN = Scores(float("nan"), None)


@dataclass(frozen=True)
class Grown:
    """What a run leaves. ``model``, ``full_precision``: LightGBM's texts, cut at their best iterations."""

    done: Done
    model: str
    full_precision: str | None


def grow(
    problem: Problem,
    method: Gbdt,
    *,
    seed: int,
    threads: int,
    report: Callable[[Event], None],
    patience: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_dir: Path | None = None,
    resume_from: Path | str | None = None,
) -> Grown | None:
    """Grow trees, telling ``report`` of each iteration; a checkpoint after each stretch.

    Args:
        problem: what is learned from what.
        method: how.
        seed: of everything random.
        threads: threads of LightGBM; the result may depend on their number.
        report: takes the events.
        patience: a run ends after so many iterations without a lower validation loss; ``None``: never early.
        should_stop: asked after each iteration.
        checkpoint_dir: where checkpoints are written; ``None``: nowhere.
        resume_from: a checkpoint to go on from. From there on the run does what it would have done without a stop.

    Returns:
        ``None`` if it was stopped; what was done since the last checkpoint is to be repeated.

    Raises:
        CheckpointError: ``resume_from`` cannot be used.
        FqtError: LightGBM cannot go on.
    """
    identity = identity_of(problem, method, seed)
    kept = Growth(quantized=method.use_quantized_grad)
    other = Growth(quantized=False) if method.compares else None
    if resume_from is not None:
        found = read_checkpoint(resume_from, identity)
        kept, other = found.kept, found.full_precision
    report(_started(problem, method, kept.iterations, threads))
    if problem.left_out:
        report(LogLine(message=f"{problem.left_out:,} rows have no value in {problem.target!r} and are left out"))
    grower = Grower(problem, method, seed=seed, threads=threads, patience=patience)
    teller = _Teller(problem, method, report)
    while not kept.finished:
        if other is not None and not other.finished and other.iterations <= kept.iterations:
            other = grower.stretch(other, teller.full_precision, should_stop)
            if other is None:
                return None
        grown = grower.stretch(kept, teller.kept, should_stop)
        if grown is None:
            return None
        kept = grown
        if checkpoint_dir is not None:
            report(write_checkpoint(checkpoint_dir, Checkpoint(identity=identity, kept=kept, full_precision=other)))
    return _finish(problem, method, kept, other, threads)


class _Teller:
    """Turns iterations into events."""

    def __init__(self, problem: Problem, method: Gbdt, report: Callable[[Event], None]) -> None:
        self._rows = len(problem.train)
        self._rate = method.learning_rate
        self._report = report

    def kept(self, iteration: Iteration) -> None:
        step, train, held = iteration.number, iteration.train, iteration.validation
        speed = self._rows / max(iteration.seconds, 1e-9)
        self._report(
            StepDone(step=step, epoch=float(step), loss=train.loss, learning_rate=self._rate, images_per_second=speed)
        )
        self._report(
            EpochDone(
                epoch=step,
                step=step,
                train_loss=train.loss,
                train_accuracy=train.accuracy,
                validation_loss=None if held is None else held.loss,
                validation_accuracy=None if held is None else held.accuracy,
                best=iteration.best,
                learning_rate=self._rate,
                images_per_second=speed,
                seconds=iteration.seconds,
            )
        )

    def full_precision(self, iteration: Iteration) -> None:
        train, held = iteration.train, iteration.validation
        self._report(
            FullPrecisionDone(
                step=iteration.number,
                train_loss=train.loss,
                train_accuracy=train.accuracy,
                validation_loss=None if held is None else held.loss,
                validation_accuracy=None if held is None else held.accuracy,
            )
        )


def _started(problem: Problem, method: Gbdt, step: int, threads: int) -> Started:
    return Started(
        step=step,
        total_steps=method.iterations,
        steps_per_epoch=1,
        epochs=method.iterations,
        train_images=len(problem.train),
        validation_images=len(problem.validation),
        classes=list(problem.classes),
        parameters=0,
        binary_parameters=0,
        arithmetic=method.arithmetic,
        isa="lightgbm",
        threads=threads,
        device="cpu",
        report=[],
    )


def _finish(problem: Problem, method: Gbdt, kept: Growth, other: Growth | None, threads: int) -> Grown:
    model, best = _cut(kept)
    found = _predictions(problem, model, threads)
    second = None if other is None else _cut(other)
    agreement = None
    if second is not None and len(problem.validation):
        agreement = _agreement(problem, found, _predictions(problem, second[0], threads))
    held = best.validation or _UNKNOWN
    done = Done(
        reason="completed" if kept.iterations >= method.iterations else "early_stopped",
        step=kept.iterations,
        epochs=kept.iterations,
        best_epoch=best.number,
        validation_accuracy=held.accuracy,
        validation_loss=None if best.validation is None else held.loss,
        train_accuracy=best.train.accuracy,
        seconds=kept.seconds + (0 if other is None else other.seconds),
        confusion=_confusion(problem, found) if problem.classes and len(problem.validation) else None,
        tabular=TabularResult(
            objective=problem.objective,
            target=problem.target,
            columns=len(problem.columns),
            rows_left_out=problem.left_out,
            kept=_result(problem, kept, best, model),
            full_precision=None if other is None or second is None else _result(problem, other, second[1], second[0]),
            agreement=agreement,
        ),
    )
    return Grown(done, model, None if second is None else second[0])


def _cut(growth: Growth) -> tuple[str, Iteration]:
    """LightGBM's text up to the best iteration, and that iteration."""
    assert growth.model is not None
    assert growth.best is not None
    booster = lightgbm.Booster(model_str=growth.model)
    return booster.model_to_string(num_iteration=growth.best.number), growth.best


def _result(problem: Problem, growth: Growth, best: Iteration, model: str) -> TreesResult:
    held = best.validation
    r2 = None
    if held is not None and problem.objective == "regression":
        variance = float(np.var(problem.labels[problem.validation]))
        r2 = 1 - held.loss / variance if variance > 0 else None
    return TreesResult(
        iterations=growth.iterations,
        best_iteration=best.number,
        train_loss=best.train.loss,
        train_accuracy=best.train.accuracy,
        validation_loss=None if held is None else held.loss,
        validation_accuracy=None if held is None else held.accuracy,
        validation_r2=r2,
        seconds=growth.seconds,
        bytes=len(model),
    )


def _predictions(problem: Problem, model: str, threads: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Numbers of classes, or values, of the validation rows."""
    trees = TreeModel(lightgbm.Booster(model_str=model), TreeFacts.of(problem), len(model))
    scores = trees.scores(problem.features[problem.validation], threads=threads)
    return scores.argmax(1).astype(np.float64) if problem.classes else scores


def _agreement(problem: Problem, one: np.ndarray, other: np.ndarray) -> float | None:
    if problem.classes:
        return float(np.mean(one == other))
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _confusion(problem: Problem, predicted: np.ndarray) -> Confusion:
    pairs = np.stack([problem.labels[problem.validation], predicted], axis=1).astype(np.int64)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    return Confusion.counted(
        {(true, guess): count for (true, guess), count in zip(found.tolist(), counts.tolist(), strict=True)},
        problem.classes,
    )
