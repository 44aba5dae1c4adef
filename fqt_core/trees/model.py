"""A model of trees in one file: LightGBM's own text, which any LightGBM reads, and a last line about the columns.

tree                                  LightGBM's text, to "end of parameters" and what LightGBM itself puts behind
…
fqt-trees:{"version":1,…}             one line of JSON: target, classes, and how columns become numbers
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import lightgbm
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fqt_core.config.table import Objective
from fqt_core.errors import CheckpointError, DataError
from fqt_core.files import write_atomically
from fqt_core.trees.problem import Feature, Problem
from fqt_core.trees.table import Floats

_MARK = "fqt-trees:"


class TreeFacts(BaseModel):
    """What the last line of a model's file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    objective: Objective
    target: str
    classes: tuple[str, ...]
    columns: Annotated[tuple[Feature, ...], Field(min_length=1)]

    @classmethod
    def of(cls, problem: Problem) -> TreeFacts:
        """Those of a problem."""
        return cls(objective=problem.objective, target=problem.target, classes=problem.classes, columns=problem.columns)


def save_trees(path: Path, text: str, problem: Problem) -> None:
    """Write LightGBM's text and what is needed to predict from rows.

    Raises:
        OSError: the file cannot be written.
    """
    facts = json.dumps(TreeFacts.of(problem).model_dump(mode="json"), separators=(",", ":"))
    write_atomically(path, f"{text.rstrip()}\n\n{_MARK}{facts}\n".encode())


class TreeModel:
    """Predicts from rows by column name. ``facts``: what it was trained on; ``nbytes``: of its text."""

    def __init__(self, booster: lightgbm.Booster, facts: TreeFacts, nbytes: int) -> None:
        self._booster = booster
        self.facts = facts
        self.nbytes = nbytes
        self._numbers: list[dict[str, int]] = [
            {word: number for number, word in enumerate(column.categories)} for column in facts.columns
        ]

    @classmethod
    def load(cls, path: Path | str) -> TreeModel:
        """Read a model that :func:`save_trees` wrote. LightGBM trusts its text, so let none come from strangers.

        Raises:
            CheckpointError: it is no such file.
        """
        text, mark, facts = Path(path).read_text().rpartition(f"\n{_MARK}")
        try:
            if not mark:
                raise CheckpointError(f"{path}: is no model of trees: its last line does not name columns")
            return cls(lightgbm.Booster(model_str=text), TreeFacts.model_validate_json(facts), len(text))
        except (lightgbm.basic.LightGBMError, ValidationError) as error:
            raise CheckpointError(f"{path}: is damaged: {str(error).splitlines()[0]}") from error

    def scores(self, features: Floats, *, threads: int = 1) -> Floats:
        """float64 (rows, columns) to probabilities (rows, classes), or to values (rows,)."""
        found = np.asarray(self._booster.predict(features, num_threads=threads), np.float64)
        if self.facts.objective == "classification" and len(self.facts.classes) == 2:
            return np.stack([1 - found, found], axis=1)
        return found

    def predict(self, rows: Sequence[Mapping[str, Any]], *, top: int = 5, threads: int = 1) -> list[dict[str, Any]]:
        """For each row ``{"value"}`` in regression, else ``{"label", "probability", "top": [{"label", …}]}``.

        Raises:
            DataError: as of :meth:`encode`.
        """
        scores = self.scores(self.encode(rows), threads=threads)
        if self.facts.objective == "regression":
            return [{"value": value} for value in scores.tolist()]
        found = []
        for row in scores:
            order = np.argsort(-row, kind="stable")[:top].tolist()
            ranked = [{"label": self.facts.classes[n], "probability": float(row[n])} for n in order]
            found.append({**ranked[0], "top": ranked})
        return found

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """Rows by column name as float64 (rows, columns): NaN for what is not given, null, or an unknown word.

        The target may be among the columns, and is not looked at.

        Raises:
            DataError: a value is of the wrong kind, or there is no such column; ``where`` is its path.
        """
        places = {column.name: number for number, column in enumerate(self.facts.columns)}
        features = np.full((len(rows), len(places)), np.nan)
        for index, row in enumerate(rows):
            for name, value in row.items():
                if name == self.facts.target:
                    continue
                where = f"rows.{index}.{name}"
                if name not in places:
                    known = ", ".join(list(places)[:20])
                    raise DataError(f"the model knows no column {name!r}; those that it knows: {known}", where=where)
                features[index, places[name]] = self._number(places[name], value, where)
        return features

    def _number(self, place: int, value: Any, where: str) -> float:
        column = self.facts.columns[place]
        if value is None:
            return float("nan")
        if column.kind == "category":
            if not isinstance(value, str):
                raise DataError(f"column {column.name!r} holds words; give a string or null", where=where)
            return self._numbers[place].get(value.strip(), float("nan"))
        if column.kind == "boolean" and not isinstance(value, bool) and value not in {0, 1}:
            raise DataError(f"column {column.name!r} holds truth values; give true, false or null", where=where)
        if isinstance(value, str) or not isinstance(value, int | float):
            raise DataError(f"column {column.name!r} holds numbers; give a number or null", where=where)
        return float(value)
