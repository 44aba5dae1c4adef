"""From `--vary PATH=VALUES` to the space of a sweep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer

from fqt_client.cli.spec import value_of

FORMS = "VALUES are A,B,C · LOW..HIGH · LOW..HIGH:log · LOW..HIGH:STEP"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::(log|{_NUMBER}))?")


def space_of(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The space that options like ``training.learning_rate=3e-4..3e-2:log`` describe.

    Raises:
        typer.BadParameter: one has no ``=``.
    """
    space = {}
    for text in texts:
        path, equals, values = text.partition("=")
        if not equals or not path.strip() or not values.strip():
            raise typer.BadParameter(f"{text!r} is not of the form PATH=VALUES; {FORMS}", param_hint="--vary")
        space[path.strip()] = values_of(values.strip())
    return space


def values_of(text: str) -> dict[str, Any]:
    """The values that one field may take, as the service's ``SweepSpec`` has them.

    A range of two whole numbers is one of whole numbers. A JSON list is a choice of its entries, a JSON object is
    taken as it is.
    """
    if found := _RANGE.fullmatch(text):
        low, high, how = found.groups()
        whole = all(re.fullmatch(r"[-+]?\d+", part) for part in (low, high))
        bounds = {"low": _number(low), "high": _number(high)}
        if how == "log":
            return {"type": "int", **bounds, "log": True} if whole else {"type": "log_uniform", **bounds}
        step = {"step": _number(how)} if how else {}
        return {"type": "int" if whole and isinstance(step.get("step", 1), int) else "uniform", **bounds, **step}
    given = value_of(text)
    if isinstance(given, dict):
        return given
    values = given if isinstance(given, list) else [value_of(part.strip()) for part in text.split(",")]
    return {"type": "choice", "values": values}


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
