"""Grows boosted trees with LightGBM, in stretches that each begin from a model's text.

LightGBM draws random numbers from generators whose state it does not give away. So a run is cut into stretches of
:data:`STRETCH` iterations: each is a new training that continues from the text of the trees so far, with a seed of its
own. A run that goes on from the text at the end of a stretch does what it would have done without having stopped, bit
for bit, on the same number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import lightgbm
import numpy as np

from fqt_core.config.tree_methods import Gbdt
from fqt_core.errors import FqtError
from fqt_core.trees.problem import Problem

STRETCH = 20
"""Iterations of a stretch: as many as may have to be repeated when a run is stopped."""

_TRAIN, _VALIDATION = "train", "validation"


@dataclass(frozen=True)
class Scores:
    """After an iteration, over all training or validation rows: mean logarithmic loss or squared error, and the share
    of rows classified right (``None`` in regression)."""

    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Iteration:
    """What an iteration, numbered from 1, led to. ``seconds`` is what it took, evaluation included."""

    number: int
    train: Scores
    validation: Scores | None
    best: bool
    seconds: float


@dataclass(frozen=True)
class Growth:
    """Where a run stands. ``model`` is LightGBM's text (``None``: no tree yet); ``best`` the best iteration so far, by
    validation loss, or the last one where nothing validates; ``seconds`` are those of all iterations that are kept."""

    quantized: bool
    model: str | None = None
    iterations: int = 0
    best: Iteration | None = None
    seconds: float = 0.0
    finished: bool = False


class _AbandonedError(Exception):
    """A stretch was asked to stop in the middle."""


class Grower:
    """The data of a problem, sorted into bins once, and the options of a method."""

    def __init__(self, problem: Problem, method: Gbdt, *, seed: int, threads: int, patience: int | None = None) -> None:
        self._problem = problem
        self._method = method
        self._seed = seed
        self._threads = threads
        self._patience = patience if len(problem.validation) else None
        self._train = lightgbm.Dataset(
            problem.features[problem.train],
            problem.labels[problem.train],
            feature_name=[f"column_{number}" for number in range(len(problem.columns))],
            categorical_feature=[n for n, column in enumerate(problem.columns) if column.kind == "category"],
            params=self._parameters(quantized=False, stretch=0),
            free_raw_data=False,
        )
        self._sets = {_TRAIN: self._train}
        if len(problem.validation):
            held = problem.features[problem.validation], problem.labels[problem.validation]
            self._sets[_VALIDATION] = self._train.create_valid(*held)
            self._sets[_VALIDATION].free_raw_data = False

    def stretch(
        self, growth: Growth, report: Callable[[Iteration], None], should_stop: Callable[[], bool]
    ) -> Growth | None:
        """Grow the next stretch, telling of each iteration; ``None`` if it was stopped, and nothing of it is kept.

        Raises:
            FqtError: LightGBM cannot go on.
            MemoryError: there is not enough memory.
        """
        rounds = min(STRETCH, self._method.iterations - growth.iterations)
        state = growth
        clock = time.perf_counter()

        def take(environment: lightgbm.callback.CallbackEnv) -> None:
            nonlocal state, clock
            if should_stop():
                raise _AbandonedError
            instant = time.perf_counter()
            state, iteration = self._advance(state, environment.evaluation_result_list or [], instant - clock)
            clock = instant
            report(iteration)
            if state.finished:
                raise lightgbm.callback.EarlyStopException(state.iterations - 1, [])

        try:
            booster = lightgbm.train(
                self._parameters(quantized=growth.quantized, stretch=growth.iterations // STRETCH),
                self._train,
                rounds,
                valid_sets=list(self._sets.values()),
                valid_names=list(self._sets),
                init_model=None if growth.model is None else lightgbm.Booster(model_str=growth.model),
                callbacks=[take],
            )
        except _AbandonedError:
            return None
        except lightgbm.basic.LightGBMError as error:
            if "alloc" in str(error):
                raise MemoryError(str(error)) from error
            raise FqtError(f"LightGBM cannot go on after {state.iterations} iterations: {error}") from error
        finished = state.finished or state.iterations >= self._method.iterations
        return replace(state, model=booster.model_to_string(num_iteration=-1), finished=finished)

    def _advance(self, state: Growth, results: list[Any], seconds: float) -> tuple[Growth, Iteration]:
        values = {(name, metric): float(value) for name, metric, value, *_ in results}
        number = state.iterations + 1
        train = self._scores(values, _TRAIN)
        validation = self._scores(values, _VALIDATION) if _VALIDATION in self._sets else None
        before = state.best.validation if state.best is not None else None
        best = validation is None or before is None or validation.loss < before.loss
        iteration = Iteration(number, train, validation, best, seconds)
        kept = iteration if best else state.best
        assert kept is not None
        late = self._patience is not None and number - kept.number >= self._patience
        return replace(state, iterations=number, best=kept, seconds=state.seconds + seconds, finished=late), iteration

    def _scores(self, values: dict[tuple[str, str], float], part: str) -> Scores:
        if self._problem.objective == "regression":
            return Scores(values[part, "l2"], None)
        kind = "binary" if len(self._problem.classes) == 2 else "multi"
        rows = len(self._problem.train if part == _TRAIN else self._problem.validation)
        return Scores(values[part, f"{kind}_logloss"], round((1 - values[part, f"{kind}_error"]) * rows) / rows)

    def _parameters(self, *, quantized: bool, stretch: int) -> dict[str, Any]:
        method = self._method
        draws = np.random.SeedSequence([self._seed, stretch]).generate_state(1)
        parameters: dict[str, Any] = {
            **_objective(self._problem),
            **method.model_dump(
                include={"learning_rate", "num_leaves", "min_data_in_leaf", "lambda_l2", "max_bin", "feature_fraction"}
            ),
            "max_depth": -1 if method.max_depth is None else method.max_depth,
            "bagging_fraction": method.bagging_fraction,
            "bagging_freq": int(method.bagging_fraction < 1),
            "use_quantized_grad": quantized,
            "seed": int(draws[0] >> 1),
            # Of bins, which have to be the same in every stretch.
            "data_random_seed": 1,
            "num_threads": self._threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        if quantized:
            options = ("num_grad_quant_bins", "stochastic_rounding", "quant_train_renew_leaf")
            parameters |= {name: getattr(method, name) for name in options}
        return parameters


def _objective(problem: Problem) -> dict[str, Any]:
    if problem.objective == "regression":
        return {"objective": "regression", "metric": ["l2"]}
    if len(problem.classes) == 2:
        return {"objective": "binary", "metric": ["binary_logloss", "binary_error"]}
    return {
        "objective": "multiclass",
        "num_class": len(problem.classes),
        "metric": ["multi_logloss", "multi_error"],
    }
