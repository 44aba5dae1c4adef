"""From pydantic's errors to field errors that read well: the field's path, what is wrong, and what would be allowed."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from api.problems import MAX_ERRORS, FieldError
from fqt_core.config import ARCHITECTURES, METHODS

# Fields whose value is one of several models, told apart by `name`. Pydantic puts that name into an error's path,
# where a reader would take it for a field.
_VARIANTS: Mapping[str, Mapping[str, type[BaseModel]]] = {"method": METHODS, "architecture": ARCHITECTURES}

_LONGEST_PATH = 400
_PLACES = frozenset({"body", "query", "path", "header", "cookie"})
# The same of the values that a sweep searches, which are told apart by `type`; and what marks a key that is wrong.
_OF_A_SPACE = frozenset({"choice", "uniform", "log_uniform", "int", "[key]"})

UNKNOWN_PARAMETER = "unknown_parameter"
"""Our own type of error, beside pydantic's: a query parameter that its route does not have."""

# Pydantic's name of a bound -> its name in JSON Schema.
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
    "multiple_of": "multipleOf",
}


def explain(errors: Iterable[Mapping[str, Any]], model: type[BaseModel] | None = None) -> list[FieldError]:
    """Return a field error for each of pydantic's ``errors``.

    Of options whose `name` is missing or unknown, pydantic tells the name only: those that are wrong under every name
    there is are added.

    Args:
        errors: as ``ValidationError.errors()`` gives them; paths may start with FastAPI's ``body``, ``query``, ….
        model: the model of the body; lets an unknown field be answered with the known ones.
    """
    # Where a field is wrong, pydantic says of each default that follows from others that it was not made.
    told = [error for error in errors if error["type"] != "default_factory_not_called"]
    parts = [part for error in told for part in (error, *_wrong_under_any_name(error))]
    # What is not listed needs no hint: to look for the nearest name takes time.
    shown = [_explain(part, model) for part in parts[:MAX_ERRORS]]
    return shown + [FieldError(field="", message=_sentence(str(part["msg"]))) for part in parts[MAX_ERRORS:]]


def _wrong_under_any_name(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The errors in the other options of a variant with no usable name, as far as no choice of name mends them."""
    variants = _VARIANTS.get(str(error["loc"][-1])) if error["loc"] else None
    options = error.get("input")
    if (
        error["type"] not in {"union_tag_invalid", "union_tag_not_found"}
        or not variants
        or not isinstance(options, dict)
    ):
        return []
    by_name = [_errors_at(row, {**options, "name": name}, (*error["loc"], name)) for name, row in variants.items()]
    places = set.intersection(*(set(found) for found in by_name))
    wrong = []
    for place in sorted(places, key=str):
        told = [found[place] for found in by_name]
        # A field that some variants know is told as these see it, not as unknown.
        wrong.append(next((entry for entry in told if entry["type"] != "extra_forbidden"), told[0]))
    return wrong


def _errors_at(row: type[BaseModel], options: Any, prefix: tuple[Any, ...]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """What a model says of these options, by the place in it; the errors' own paths get the prefix."""
    try:
        row.model_validate(options)
    except ValidationError as error:
        return {entry["loc"]: {**entry, "loc": (*prefix, *entry["loc"])} for entry in error.errors(include_url=False)}
    return {}


def _explain(error: Mapping[str, Any], model: type[BaseModel] | None) -> FieldError:
    path = [part for part in error["loc"] if part != "__root__"]
    # A field that nobody knows may have one of these names itself.
    placed = path[:1] and path[0] in _PLACES and not (error["type"] == "extra_forbidden" and len(path) == 1)
    place = path.pop(0) if placed else None
    if path[:1] == ["space"] and len(path) > 2 and path[2] in _OF_A_SPACE:
        del path[2]
    parts, owner = _walk(path, model)
    kind, context = error["type"], error.get("ctx") or {}
    message = _sentence(error["msg"])
    allowed: list[Any] | dict[str, Any] | None = None
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        names = _VARIANTS.get(str(parts[-1])) if parts else None
        allowed = sorted(names) if names else _quoted(str(context.get("expected_tags", "")))
        message = f"unknown name {context['tag']!r}" if kind == "union_tag_invalid" else "field required"
        parts = [*parts, str(context.get("discriminator", "name")).strip("'")]
    elif kind in {"literal_error", "enum"}:
        allowed = _quoted(str(context.get("expected", "")))
    elif kind == "extra_forbidden":
        known = sorted(owner.model_fields) if owner is not None else []
        guess = difflib.get_close_matches(str(parts[-1]), known, n=1)
        message = "unknown field" + (f"; did you mean {guess[0]!r}?" if guess else "")
        allowed = known or None
    elif kind == UNKNOWN_PARAMETER:
        allowed = sorted(context["known"])
    elif kind == "value_error":
        message = str(context.get("error", message))
    else:
        bounds = {_BOUNDS[name]: value for name, value in context.items() if name in _BOUNDS}
        allowed = _named_by_kind(kind, bounds)
    return FieldError(field=_join(parts) or str(place or "body"), message=message, allowed=allowed)


def _named_by_kind(kind: str, bounds: dict[str, Any]) -> dict[str, Any] | None:
    """A list's length has other names in JSON Schema than a string's."""
    if kind in {"too_short", "too_long"}:
        bounds = {name.replace("Length", "Items"): value for name, value in bounds.items()}
    return bounds or None


def _walk(path: list[Any], model: type[BaseModel] | None) -> tuple[list[Any], type[BaseModel] | None]:
    """Return ``path`` without the names of variants, and the model that its last part is a field of."""
    parts: list[Any] = []
    owner: type[BaseModel] | None = None
    here = model
    for part in path:
        variants = _VARIANTS.get(str(parts[-1])) if parts else None
        if variants and part in variants and here is None:
            here = variants[part]
            continue
        owner = here
        here = _model_of(here, part)
        parts.append(part)
    return parts, owner


def _model_of(model: type[BaseModel] | None, field: Any) -> type[BaseModel] | None:
    """Return the model that ``field`` of ``model`` holds; ``None`` where it holds none, or one of several."""
    row = model.model_fields.get(field) if model is not None and isinstance(field, str) else None
    if row is None:
        return None
    kinds = [row.annotation, *get_args(row.annotation)]
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return models[0] if len(models) == 1 else None


def _quoted(text: str) -> list[Any] | None:
    """Read the values out of pydantic's ``'a', 'b' or 'c'``."""
    values: list[Any] = []
    for token in re.split(r", | or ", text):
        try:
            values.append(ast.literal_eval(token))
        except (ValueError, SyntaxError):
            return None
    return values or None


def _join(parts: Iterable[Any]) -> str:
    """Join a path: ``classes.2``, ``training.augment.pad_crop``. What a client calls a field may have any length."""
    return ".".join(str(part) for part in parts)[:_LONGEST_PATH]


def _sentence(message: str) -> str:
    """Pydantic's messages start with a capital letter, which reads oddly after a field's name."""
    return message[:1].lower() + message[1:]
