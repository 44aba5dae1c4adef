"""Errors in OpenAI's shape: a member ``error`` of the problem document, on the paths under :data:`PREFIX`.

RFC 9457 lets a problem have members of its own, so one body serves both: OpenAI's clients read ``error``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, Field

PREFIX = "/openai/v1"

# Fields of a job spec, and the parameters of OpenAI's request that they come from.
_PARAMETERS = {
    "dataset": "training_file",
    "architecture.name": "model",
    "training.epochs": "hyperparameters.n_epochs",
    "training.batch_size": "hyperparameters.batch_size",
    "training.learning_rate": "hyperparameters.learning_rate_multiplier",
    "training.seed": "seed",
    "name": "suffix",
    "initial_weights": "model",
}
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class OpenAIError(BaseModel):
    """An error as OpenAI's clients read it."""

    message: str = Field(description="What went wrong, with every wrong field.")
    type: str = Field(description="The family of errors, for example `invalid_request_error`.")
    param: str | None = Field(description="The first wrong parameter, if one is to blame.")
    code: str = Field(description="Stable code of the kind of problem.")


class _Fault(Protocol):
    @property
    def field(self) -> str: ...

    @property
    def message(self) -> str: ...


def applies(path: str) -> bool:
    """Whether errors at this path have the member."""
    return path == PREFIX or path.startswith(PREFIX + "/")


def member(status: int, code: str, detail: str, faults: Sequence[_Fault]) -> dict[str, Any]:
    """Return the member ``error`` of a problem."""
    lines = [detail, *(f"{parameter(fault.field)}: {fault.message}" for fault in faults)]
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    first = parameter(faults[0].field) if faults else None
    return OpenAIError(message=" ".join(lines), type=kind, param=first, code=code).model_dump()


def headers(status: int) -> Mapping[str, str]:
    """Headers for OpenAI's clients: they would repeat a request that met a conflict, which does not help here."""
    return {"x-should-retry": "false"} if status == 409 else {}


def parameter(field: str) -> str:
    """Return OpenAI's name of a field of a job spec; one that it does not know keeps its own."""
    return _PARAMETERS.get(field, field)
