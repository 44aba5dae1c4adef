"""What to try next, and whom to give up on: Optuna, on a study that is made anew from the sweep's rows each time.

There is no second store that could say otherwise than the rows. What is drawn depends on the seed, the number of the
trial and the rows, and on nothing that a process remembers.

Imports Optuna, so the API process imports this when a sweep first needs it.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from jobs.records import Sweep, Trial
from jobs.sweep_spec import Choice, Dimension, IntRange, LogUniform, SweepSpec

optuna.logging.set_verbosity(optuna.logging.WARNING)

_STATES = {
    "running": TrialState.RUNNING,
    "succeeded": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "cancelled": TrialState.FAIL,
    "failed": TrialState.FAIL,
}


def suggest(sweep: Sweep, trials: Sequence[Trial]) -> dict[str, Any]:
    """Parameters of the next trial, by dotted name.

    Args:
        sweep: the sweep.
        trials: all of its trials so far, by number.
    """
    spec, number = sweep.spec, len(trials)
    if spec.algorithm == "grid":
        return spec.combination(number)
    digest = hashlib.sha256(f"{spec.seed} {number}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    sampler: BaseSampler = RandomSampler(seed=seed)
    if spec.algorithm == "tpe":
        sampler = _quiet(lambda: TPESampler(seed=seed, constant_liar=True))
    study = _study(sweep, trials, sampler, NopPruner())
    drawn = study.ask(fixed_distributions=_distributions(spec)).params
    return {name: _outer(dimension, drawn[name]) for name, dimension in spec.space.items()}


def judge(
    sweep: Sweep, trials: Sequence[Trial], number: int, news: Mapping[int, float], most_epochs: int
) -> tuple[int | None, dict[str, Any]]:
    """Whether a trial has no prospect: after which epoch that shows, or ``None``; and what to remember of the trial.

    Args:
        sweep: the sweep, which has pruning.
        trials: all of its trials so far, by number.
        number: the trial in question.
        news: epoch to value, those that were not judged yet, in order.
        most_epochs: the epochs of the longest job there may be.
    """
    pruner = _pruner(sweep.spec, most_epochs)
    study = _study(sweep, trials, RandomSampler(seed=0), pruner)
    trial = study.get_trials(deepcopy=False)[number]
    for epoch, value in news.items():
        study._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
        trial = study._storage.get_trial(trial._trial_id)
        verdict = pruner.prune(study, trial)
        trial = study._storage.get_trial(trial._trial_id)
        if verdict:
            return epoch, dict(trial.system_attrs)
    return None, dict(trial.system_attrs)


def _study(sweep: Sweep, trials: Sequence[Trial], sampler: BaseSampler, pruner: BasePruner) -> optuna.Study:
    study = optuna.create_study(
        study_name=f"seed {sweep.spec.seed}",  # hyperband draws the bracket of a trial from it
        direction="maximize" if sweep.spec.maximizes else "minimize",
        sampler=sampler,
        pruner=pruner,
    )
    study.add_trials([_frozen(sweep.spec, trial) for trial in trials])
    return study


def _frozen(spec: SweepSpec, trial: Trial) -> FrozenTrial:
    return create_trial(
        state=_STATES[trial.state],
        value=trial.value if trial.state == "succeeded" else None,
        params={name: _inner(dimension, trial.parameters[name]) for name, dimension in spec.space.items()},
        distributions=_distributions(spec),
        intermediate_values={int(epoch): value for epoch, value in trial.reported.items()},
        system_attrs=trial.notes,
    )


def _distributions(spec: SweepSpec) -> dict[str, BaseDistribution]:
    return {name: _distribution(dimension) for name, dimension in spec.space.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):  # by its place: values of all kinds are allowed here
        return CategoricalDistribution(range(len(dimension.values)))
    if isinstance(dimension, IntRange):
        return IntDistribution(dimension.low, dimension.extremes()[-1], log=dimension.log, step=dimension.step)
    if isinstance(dimension, LogUniform):
        return FloatDistribution(dimension.low, dimension.high, log=True)
    return FloatDistribution(dimension.low, dimension.extremes()[-1], step=dimension.step)


def _inner(dimension: Dimension, value: Any) -> Any:
    if not isinstance(dimension, Choice):
        return value
    return [json.dumps(known, sort_keys=True) for known in dimension.values].index(json.dumps(value, sort_keys=True))


def _outer(dimension: Dimension, value: Any) -> Any:
    return dimension.values[value] if isinstance(dimension, Choice) else value


def _pruner(spec: SweepSpec, most_epochs: int) -> BasePruner:
    assert spec.pruning is not None, "asked of sweeps with pruning only"
    warmup = spec.pruning.warmup_epochs
    if spec.pruning.name == "hyperband":
        least = min(max(1, warmup), most_epochs)
        return HyperbandPruner(min_resource=least, max_resource=max(least, most_epochs), reduction_factor=3)
    return MedianPruner(n_startup_trials=spec.pruning.startup_jobs, n_warmup_steps=warmup)


def _quiet(make: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make()
