"""Paths of the service's resources. Ids become part of a URL here only: quoted, and never a way to another route."""

from __future__ import annotations

import re
from urllib.parse import quote

from fqt_client.errors import UnusableValueError

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def job_path(job_id: str, *below: str) -> str:
    """The path of a job, or of what is below it.

    Raises:
        UnusableValueError: this cannot be the id of a job.
    """
    if not _ID.fullmatch(job_id):
        raise UnusableValueError(f"{job_id!r} cannot be the id of a job", remedy="`fqt jobs` lists them: job_…")
    return _join("jobs", job_id, *below)


def sweep_path(sweep_id: str, *below: str) -> str:
    """The path of a sweep, or of what is below it.

    Raises:
        UnusableValueError: this cannot be the id of a sweep.
    """
    if not _ID.fullmatch(sweep_id):
        raise UnusableValueError(f"{sweep_id!r} cannot be the id of a sweep", remedy="they look like swp_…")
    return _join("sweeps", sweep_id, *below)


def dataset_path(dataset_id: str) -> str:
    """The path of a data set.

    Raises:
        UnusableValueError: this cannot be the id of a data set.
    """
    if not _ID.fullmatch(dataset_id):
        message = f"{dataset_id!r} cannot be the id of a data set"
        raise UnusableValueError(message, remedy="`fqt datasets list` lists them: ds_…, or a built-in name")
    return _join("datasets", dataset_id)


def model_path(model_id: str, *below: str) -> str:
    """The path of a model, or of what is below it.

    Raises:
        UnusableValueError: this cannot be the id of a model.
    """
    if not _ID.fullmatch(model_id):
        raise UnusableValueError(f"{model_id!r} cannot be the id of a model", remedy="`fqt models list` lists them")
    return _join("models", model_id, *below)


def _join(*segments: str) -> str:
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise UnusableValueError(f"{segment!r} cannot be part of a URL")
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)
