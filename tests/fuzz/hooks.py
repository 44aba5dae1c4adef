"""What schemathesis knows besides the document: valid files and addresses, and two more checks."""

from __future__ import annotations

import base64
import json
import re
import string
import tempfile
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from pydantic import AwareDatetime, TypeAdapter, ValidationError
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import EnsureResourceAvailability

from api import json_body
from api.middleware import MAX_TARGET_BYTES
from api.problems import MAX_ERRORS
from fqt_core.config import ARCHITECTURES
from fqt_core.config.builtin import BUILTIN_DATASETS
from jobs import urls
from jobs.errors import UrlRefusedError
from jobs.settings import Settings
from jobs.spec import JobSpec
from jobs.sweep_spec import SweepSpec
from tests.api import registry
from tests.fuzz.archives import archive, picture


def _models() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [registry.packed(Path(folder)), registry.weights(Path(folder))]


# The type is what the content is.
for media in ("application/zip", "application/x-tar", "application/gzip", "application/octet-stream"):
    schemathesis.openapi.media_type(media, st.tuples(st.integers(3, 6), st.integers(3, 6)).map(archive))
for media in ("png", "jpeg", "webp", "bmp"):
    schemathesis.openapi.media_type(f"image/{media}", st.just(picture(100, media)))
schemathesis.openapi.media_type("application/x-safetensors", st.sampled_from(_models()))

schemathesis.openapi.format("byte", st.just(base64.b64encode(picture(100)).decode()))
schemathesis.openapi.format("event-seq", st.sampled_from(["0", "1"]))  # every log has a first event
names = st.text(string.ascii_lowercase, min_size=1, max_size=20)
schemathesis.openapi.format("uri", st.builds("https://{}.example/{}".format, names, names))


# Fields of bodies that name what there is, and one of the things that there are.
_KNOWN: dict[str, dict[str, str]] = {
    "POST /v1/jobs": {"dataset": "digits"},
    "POST /openai/v1/fine_tuning/jobs": {"training_file": "digits", "model": "resnet18"},
    "POST /v1/datasets/from-folder": {"folder": "photos"},
}
# What was made last of what is compared, by the name of what makes it.
_made: dict[str, deque[str]] = {"job": deque(maxlen=10), "sweep": deque(maxlen=10)}
# Ids of what was deleted.
_gone: set[str] = set()


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    """Name what there is, where only its shape is known: or nothing but its absence is ever told."""
    if _mode(case) != schemathesis.GenerationMode.POSITIVE:
        return case
    operation = f"{case.method} {case.operation.path}"
    for field, known in _KNOWN.get(operation, {}).items():
        if isinstance(case.body, dict) and len(case.body.get(field, "")) % 4:
            case.body = case.body | {field: known}
    if operation == "GET /v1/compare":
        case.query = _that_there_are(case.query or {})
    if operation == "POST /v1/compare" and isinstance(case.body, dict):
        case.body = _that_there_are(case.body)
    return case


def _that_there_are(asked: dict[str, Any]) -> dict[str, Any]:
    """A question to compare with ids of what was made instead of those that were made up, as many of them."""
    asked, jobs, sweeps = dict(asked), _made["job"], _made["sweep"]
    for name in {"job", "jobs"} & asked.keys():
        if jobs and isinstance(asked[name], list):
            asked[name] = [jobs[index % len(jobs)] for index in range(len(asked[name]))]
    if sweeps and asked.get("sweep"):
        asked["sweep"] = sweeps[-1]
    return asked


def _mode(case: schemathesis.Case) -> schemathesis.GenerationMode | None:
    return getattr(getattr(case.meta, "generation", None), "mode", None)


@schemathesis.check
def what_is_made_is_remembered(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """For the hooks; finds no fault."""
    kind = {"/v1/jobs": "job", "/v1/sweeps": "sweep"}.get(case.operation.path)
    if kind is not None and response.status_code == 201:
        _made[kind].append(json.loads(response.content)["id"])
    if case.method == "DELETE" and response.status_code < 300:
        _gone.update(map(str, case.path_parameters.values()))
        for ids in _made.values():
            for gone in _gone.intersection(ids):
                ids.remove(gone)


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: schemathesis.Case, response: schemathesis.Response
) -> bool:
    """Data sets and jobs are found under two paths, ours and OpenAI's: what is deleted under one is gone from both."""
    gone = _gone.intersection(map(str, case.path_parameters.values()))
    return not (isinstance(failure, EnsureResourceAvailability) and response.status_code == 404 and gone)


@schemathesis.check
def refusals_are_problems(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Every 4xx and 5xx is a problem document with the request's id."""
    if response.status_code < 400:
        return
    media = response.headers.get("content-type", [""])[0]
    assert media == "application/problem+json", f"{response.status_code} is {media}"
    identity = response.headers.get("x-request-id", [""])[0]
    if response.request.method == "HEAD":
        return
    document = json.loads(response.content)
    assert document["status"] == response.status_code
    assert document["request_id"] == identity != ""


@schemathesis.check
def what_the_schema_allows_is_refused_for_what_is_wrong_with_it(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """A request that fits the schema is refused only where this module, too, finds something wrong, and for that."""
    if _mode(case) != schemathesis.GenerationMode.POSITIVE:
        return
    if response.status_code == 414:
        assert len(response.request.path_url) > MAX_TARGET_BYTES
    if response.status_code == 400 and isinstance(case.body, dict | list):
        text = json.dumps(case.body)
        assert "\\u0000" in text or "\\ud" in text, "refused as malformed, and is not"
    wrong = _WRONG.get(f"{case.method} {case.operation.path}")
    if response.status_code == 422 and wrong is not None:
        document = json.loads(response.content)
        told = {error["field"].split(".")[0]: error for error in document["errors"][:MAX_ERRORS]}
        if unfounded := (told or {document["code"]: document}).keys() - wrong(case):
            raise AssertionError(f"refused for what is right: {[told.get(name, name) for name in sorted(unfounded)]}")
        for error in document["errors"][MAX_ERRORS:]:
            assert re.fullmatch(r"[1-9][0-9]* more are wrong and not listed", error["message"])


def _as_read(body: Any) -> Any:
    """A body as the API reads it: a whole number is an integer, however it is written."""
    return json_body.parse(json.dumps(body).encode())


def _wrong_job(body: Any) -> set[str]:
    """The fields of a job spec, as far as its first name, that cannot be as they are."""
    found = {"dataset"} if body.get("dataset") not in BUILTIN_DATASETS else set()
    for reference in ("initial_weights", "teacher"):
        if body.get(reference) is not None:  # of nothing; or of a job whose network and classes may be others
            found |= {reference, "architecture"}
    if body.get("task") == "tabular":
        return found | _OF_TABLES
    if body.get("table") is not None:
        found.add("table")
    if body.get("search") is not None:  # with another network, method or training than it goes with
        found |= {"search", "architecture", "method", "training", "parallel"}
    known = BUILTIN_DATASETS.get(body.get("dataset"))
    if known is None or not set(body.get("classes") or ()) <= set(known.classes):
        found.add("classes")
    try:
        spec = JobSpec.model_validate(_as_read(body))
    except ValidationError as error:
        return found | {str(row["loc"][0]) for row in error.errors() if not _shape(row)}
    training, method = spec.training, spec.method
    if (
        training.augment.pad_crop >= spec.network.image_size
        or training.warmup_steps > 0
        or (training.optimizer == "muon" and not method.binarises)
        or (training.distillation is not None and spec.teacher is None)
    ):
        found.add("training")
    few = 2 * len(known.classes) if known is not None else 0  # images that may be all there are of some classes
    if spec.parallel is not None and spec.parallel.processes > min(training.batch_size // training.accumulate, few):
        found.add("parallel")
    return found | ({"method"} if method.exceptions or method.task != "images" else set())


# No built-in data set is a table, and to trees little of a spec means anything.
_OF_TABLES = {
    "dataset",
    "table",
    "method",
    "architecture",
    "classes",
    "initial_weights",
    "teacher",
    "training",
    "device",
    "checkpoints",
    "parallel",
    "search",
}


def _shape(row: Any) -> bool:
    """Whether an error is one that the schema should have told.

    What two fields say together is no matter of schemas. And schemathesis compares numbers as floats, to which the
    bound of a seed and what is a little more are one.
    """
    return bool(row["type"] != "value_error" and row.get("ctx", {}).get("le", 0) < 2**53)


def _wrong_sweep(body: Any) -> set[str]:
    try:
        spec = SweepSpec.model_validate(_as_read(body))
    except ValidationError as error:
        return {str(row["loc"][0]) for row in error.errors() if not _shape(row)}
    found = {"metric", "max_jobs"} if spec.metric.startswith("validation") or spec.algorithm == "grid" else set()
    if any(dimension.grid() is None for dimension in spec.space.values()) or spec.overlaps():
        found.add("space")
    made = [_wrong_job(spec.body(parameters)) for parameters in islice(spec.corners(), _CORNERS)]
    names = set().union(*made) | (spec.base.keys() | spec.space.keys()) - JobSpec.model_fields.keys()
    return found | ({"base", "space"} if names else set())


def _wrong_openai(body: Any) -> set[str]:
    """Its fields are those of a job spec, some under OpenAI's names, and whatever else is in the body."""
    spec = {**body, "dataset": body["training_file"]}
    own = {"model", "training_file", "seed", "suffix", "hyperparameters", "method", "metadata"}
    found = {"dataset"} if body["training_file"] not in BUILTIN_DATASETS else set()
    if body["model"] not in ARCHITECTURES:
        found |= {"model", "initial_weights", "architecture"}
    given = body.get("hyperparameters") or body.get("method") or body.get("seed") is not None or "training" in body
    # Of a path, the name up to a dot; a name without letters is told as the body itself.
    extra = {name.split(".")[0] if name else "body" for name in spec.keys() - own}
    if body.get("task") == "tabular":
        found |= _OF_TABLES | {"training_file", "model", "hyperparameters"}
    return found | extra | ({"training", "hyperparameters", "method"} if given else set())


def _wrong_key(body: Any) -> set[str]:
    """A key ends in the future, which is another time for each request."""
    ends = body.get("expires_at")
    if ends is None:
        return set()
    if ends.startswith("0000") or re.search(":[0-9]{2}:60", ends):  # no year and no second of Python's
        return {"expires_at"}
    return {"expires_at"} if TypeAdapter(AwareDatetime).validate_python(ends) <= datetime.now(UTC) else set()


def _wrong_url(body: Any) -> set[str]:
    """Not every URL leads anywhere; and downloads are played, so that a file has its own SHA-256 and no other."""
    found = {"download_failed"} if body.get("sha256") else set()
    try:
        urls.parse(body["url"], private=False, ports=Settings().url_ports)
    except UrlRefusedError:
        found.add("url")
    return found


def _wrong_prediction(body: Any) -> set[str]:
    """All models that are uploaded classify images: they have no use for rows of a table."""
    return {"images", "rows"} if isinstance(body, dict) and "rows" in body else set()


def _unnamed(query: Any) -> set[str]:
    """What to compare: one of two parameters of a query, of which each may be left out."""
    return set() if query.get("job") or query.get("sweep") else {"job"}


_CORNERS = 128
_WRONG: dict[str, Callable[[schemathesis.Case], set[str]]] = {
    "POST /v1/jobs": lambda case: _wrong_job(case.body),
    "POST /v1/sweeps": lambda case: _wrong_sweep(case.body),
    "POST /openai/v1/fine_tuning/jobs": lambda case: _wrong_openai(case.body),
    "POST /v1/keys": lambda case: _wrong_key(case.body),
    "POST /v1/datasets/from-url": lambda case: _wrong_url(case.body),
    "POST /v1/models/{model_id}/predict": lambda case: _wrong_prediction(case.body),
    "GET /v1/compare": lambda case: _unnamed(case.query or {}),
    "GET /v1/jobs/{job_id}/metrics": lambda _case: set(),
}
