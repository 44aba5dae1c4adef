"""From a JSON body to a job spec: every wrong field in one answer, whether its shape or what it refers to is wrong."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection

from api.problems import FieldError, Invalid
from api.validation import explain
from jobs import validation
from jobs.errors import InvalidSpecError, SpecFault
from jobs.spec import JobSpec
from jobs.validation import Bounds, Sources

_REFERENCES = ("task", "dataset", "table", "classes", "initial_weights", "teacher", "device")


def read_spec(connection: Connection, body: Any, bounds: Bounds) -> tuple[JobSpec, Sources]:
    """Validate a body as a job spec; return it with what it refers to.

    Raises:
        Invalid: with every wrong field. Where the shape is wrong somewhere, the references that can be read are looked
            up all the same, so that the sender does not learn of them one request later.
    """
    try:
        # As JSON, and strictly: `true` is no number of epochs, and "10" none either.
        spec = JobSpec.model_validate_json(json.dumps(body), strict=True)
    except ValidationError as error:
        errors = explain(error.errors(include_url=False), JobSpec)
        wrong = {found.field.split(".")[0] for found in errors}
        raise Invalid(errors=[*errors, *_dangling(connection, body, bounds, wrong)]) from None
    try:
        return spec, validation.check(connection, spec, bounds)
    except InvalidSpecError as error:
        raise Invalid(errors=[as_field_error(fault) for fault in error.errors]) from None


def spec_errors(connection: Connection, body: Any, bounds: Bounds) -> list[FieldError]:
    """What :func:`read_spec` would refuse: for a request that is refused already, for another part of it."""
    try:
        read_spec(connection, body, bounds)
    except Invalid as problem:
        return problem.errors
    return []


def as_field_error(fault: SpecFault) -> FieldError:
    """Return the wire shape of a domain fault."""
    allowed = fault.allowed if isinstance(fault.allowed, list | dict | None) else [fault.allowed]
    return FieldError(field=fault.field, message=fault.message, allowed=allowed)


def _dangling(connection: Connection, body: Any, bounds: Bounds, wrong: set[str]) -> list[FieldError]:
    """Return what is wrong with the references of a body whose shape is wrong in the fields ``wrong``."""
    if not isinstance(body, dict) or "dataset" in wrong:
        return []
    readable = {name: body[name] for name in _REFERENCES if name in body and name not in wrong}
    try:
        validation.check(connection, JobSpec.model_validate(readable), bounds)
    except ValidationError:
        return []
    except InvalidSpecError as error:
        return [as_field_error(fault) for fault in error.errors if fault.field.split(".")[0] in readable]
    return []
