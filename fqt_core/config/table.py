"""What is to be learned from a table. Imports no torch, and nothing that reads tables."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

LONGEST_COLUMN_NAME = 200
MOST_COLUMNS = 1000

Objective: TypeAlias = Literal["classification", "regression"]
ColumnName = Annotated[str, Field(min_length=1, max_length=LONGEST_COLUMN_NAME)]


class TableConfig(BaseModel):
    """Which column of a table is predicted from which others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: ColumnName = Field(description="The column to predict. Rows without a value in it are left out.")
    objective: Objective | None = Field(
        default=None,
        description="null: classification if the target holds words, truth values, or at most 20 different whole "
        "numbers; otherwise regression.",
    )
    ignore: tuple[ColumnName, ...] = Field(
        default=(),
        max_length=MOST_COLUMNS,
        json_schema_extra={"uniqueItems": True},
        description="Columns that are not to be learned from: row numbers, or what is only known after the target.",
    )


MOST_WHOLE_NUMBERS = 20
"""Different whole numbers up to which they are taken for the names of classes."""

MOST_CLASSES = 100


def settled_objective(asked: Objective | None, kind: str, distinct: int, *, whole: bool) -> Objective:
    """The objective for a target column of this kind, with so many distinct values, all of them ``whole`` numbers."""
    if asked is not None:
        return asked
    named = kind != "number" or (whole and distinct <= MOST_WHOLE_NUMBERS)
    return "classification" if named else "regression"


def target_fault(objective: Objective, kind: str, distinct: int) -> str | None:
    """Why a column cannot be the target of this objective; ``None``: it can."""
    if objective == "regression":
        return None if kind == "number" else "regression needs a target of numbers; use objective 'classification'"
    if distinct < 2:
        return f"classification needs at least two classes; the target has {distinct}"
    if distinct > MOST_CLASSES:
        return f"the target has {distinct:,} different values; at most {MOST_CLASSES} classes are told apart"
    return None
