"""From a table to what is learned: a matrix of features, labels, and which rows train and which validate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from fqt_core.config.table import Objective, TableConfig, settled_objective, target_fault
from fqt_core.data.split import held_out
from fqt_core.errors import ConfigurationError
from fqt_core.trees.table import Column, Floats, Kind, Table, all_whole

_LARGEST_TARGET = 1e30  # LightGBM keeps targets and gradients in 32 bits


class Feature(BaseModel):
    """A column that is learned from. Of a category ``categories[i]`` is the word that number i stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Attributes:
    features: float64 (rows, columns); NaN where a value is missing.
    labels: float64 (rows,): numbers of classes, or the values themselves.
    train, validation: int64, sorted numbers of rows.
    classes: names of the classes; none in regression.
    left_out: rows of the table that have no target.
    """

    objective: Objective
    target: str
    columns: tuple[Feature, ...]
    classes: tuple[str, ...]
    features: Floats
    labels: Floats
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    left_out: int


def pose(table: Table, config: TableConfig, *, validation_fraction: float, seed: int) -> Problem:
    """Settle what is learned from what. Of each class ``validation_fraction`` of the rows is set aside.

    Raises:
        ConfigurationError: the table has no such columns, or none that the target could be learned from.
    """
    target = _target(table, config)
    present = ~np.isnan(target.values)
    known = target.values[present]
    distinct = np.unique(known)
    whole = all_whole(distinct)
    objective = settled_objective(config.objective, target.kind, len(distinct), whole=whole)
    if (fault := target_fault(objective, target.kind, len(distinct))) is not None:
        raise ConfigurationError(fault)
    if objective == "regression" and np.abs(known).max() > _LARGEST_TARGET:
        raise ConfigurationError(f"the target {target.name!r} holds values beyond {_LARGEST_TARGET:g}: scale it down")
    used = [column for name, column in table.columns.items() if name not in {target.name, *config.ignore}]
    if not used:
        raise ConfigurationError("there is no column to learn from: the table has others than the target only skipped")
    classify = objective == "classification"
    labels = np.searchsorted(distinct, known).astype(np.float64) if classify else known
    groups = labels.astype(np.int64) if classify else np.zeros(len(known), np.int64)
    held = held_out(groups, len(distinct) if classify else 1, validation_fraction, seed)
    features = np.empty((len(known), len(used)), np.float64)
    for number, column in enumerate(used):
        features[:, number] = column.values[present]
    return Problem(
        objective=objective,
        target=target.name,
        columns=tuple(Feature(name=column.name, kind=column.kind, categories=column.categories) for column in used),
        classes=tuple(target.labels(distinct)) if classify else (),
        features=features,
        labels=labels,
        train=np.flatnonzero(~held),
        validation=np.flatnonzero(held),
        left_out=int(table.rows - len(known)),
    )


def _target(table: Table, config: TableConfig) -> Column:
    found = table.columns.get(config.target)
    if found is None:
        reason = table.skipped.get(config.target, "there is no such column")
        raise ConfigurationError(f"the target {config.target!r} cannot be learned: {reason}")
    unknown = [name for name in config.ignore if name not in {*table.columns, *table.skipped}]
    if unknown:
        raise ConfigurationError(f"ignore: there is no column {unknown[0]!r}")
    return found
