"""From the options of `fqt submit` to the body of POST /v1/jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import typer

# Options without a name belong to the service's default network and method, by task.
_DEFAULT_NAMES = {"images": {"architecture": "resnet18", "method": "fqt"}, "tabular": {"method": "gbdt"}}


def build_spec(base: Mapping[str, Any], values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Put a spec together: ``base``, then the options' values, then ``--set``.

    Args:
        base: what a ``--spec`` file says.
        values: dotted paths to values (``method.bits``); None leaves a path as it is.
        assignments: texts like ``training.seed=7``; the value is JSON, or a plain string if it is none.

    Raises:
        typer.BadParameter: an assignment has no ``=``, or a path leads through something that is no object.
    """
    spec = deepcopy(dict(base))
    for path, value in values.items():
        if value is not None:
            assign(spec, path, value)
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise typer.BadParameter(
                f"{text!r} is not of the form PATH=VALUE, e.g. training.seed=7", param_hint="--set"
            )
        assign(spec, path.strip(), value_of(value))
    for part, default in _DEFAULT_NAMES.get(str(spec.get("task", "images")), {}).items():
        if isinstance(spec.get(part), str):
            spec[part] = {"name": spec[part]}
        elif isinstance(spec.get(part), dict):
            spec[part].setdefault("name", default)
    return spec


def assign(spec: dict[str, Any], path: str, value: Any) -> None:
    """Set one field by its dotted path, making the objects on the way. A new name drops the old one's options.

    Raises:
        typer.BadParameter: the path leads through something that is no object.
    """
    *parents, last = path.split(".")
    here = spec
    for name in parents:
        below = here.setdefault(name, {})
        if isinstance(below, str):
            # "architecture": "resnet18" in a file is short for {"name": "resnet18"}.
            below = here[name] = {"name": below}
        if not isinstance(below, dict):
            raise typer.BadParameter(f"{path}: {name} is no object", param_hint="--set")
        here = below
    if last == "name" and parents and here.get("name") not in (None, value):
        here.clear()
    here[last] = value


def value_of(text: str) -> Any:
    """The value that an option's text means: JSON, or a plain string if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text
