"""Paths of the service's resources. Ids become part of a URL here only: quoted, and never a way to another route."""

from __future__ import annotations

import re
from urllib.parse import quote

from fqt_client.errors import UnusableValueError


def job_path(job_id: str, *below: str) -> str:
    """The path of a job, or of what is below it.

    Raises:
        UnusableValueError: this cannot be the id of a job.
    """
    return _join("jobs", _checked(job_id, "job_", "a job", "`fqt jobs` lists them: job_…"), *below)


def sweep_path(sweep_id: str, *below: str) -> str:
    """The path of a sweep, or of what is below it.

    Raises:
        UnusableValueError: this cannot be the id of a sweep.
    """
    return _join("sweeps", _checked(sweep_id, "swp_", "a sweep", "`fqt sweep list` lists them: swp_…"), *below)


def dataset_path(dataset_id: str, *below: str) -> str:
    """The path of a data set, or of what is below it.

    Raises:
        UnusableValueError: this cannot be the id of a data set.
    """
    remedy = "`fqt datasets list` lists them: ds_…, or a built-in name"
    return _join("datasets", _checked(dataset_id, "", "a data set", remedy), *below)


def model_path(model_id: str, *below: str) -> str:
    """The path of a model, or of what is below it.

    Raises:
        UnusableValueError: this cannot be the id of a model.
    """
    return _join("models", _checked(model_id, "mdl_", "a model", "`fqt models list` lists them: mdl_…"), *below)


def _checked(text: str, prefix: str, what: str, remedy: str) -> str:
    if not re.fullmatch(rf"{prefix}[A-Za-z0-9_-]{{1,100}}", text):
        raise UnusableValueError(f"{text!r} cannot be the id of {what}", remedy=remedy)
    return text


def _join(*segments: str) -> str:
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise UnusableValueError(f"{segment!r} cannot be part of a URL")
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)
