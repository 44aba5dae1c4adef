"""What schemathesis knows besides the document: valid files and addresses, and two more checks."""

from __future__ import annotations

import io
import json
import string
import zipfile

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel, ValidationError

from api.openai.requests import NewFineTuningJob
from api.schemas.compare import CompareRequest
from jobs.spec import JobSpec
from jobs.sweep_spec import SweepSpec

_FITS: dict[str, type[BaseModel]] = {
    "/v1/jobs": JobSpec,
    "/v1/sweeps": SweepSpec,
    "/v1/compare": CompareRequest,
    "/openai/v1/fine_tuning/jobs": NewFineTuningJob,
}


def _archive(counts: tuple[int, int]) -> bytes:
    """A zip of two classes with so many images each."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, count in zip("ab", counts, strict=True):
            for number in range(count):
                picture = io.BytesIO()
                Image.new("L", (8, 8), number + 100 * (name == "b")).save(picture, "PNG")
                file.writestr(f"{name}/{number}.png", picture.getvalue())
    return data.getvalue()


archives = st.tuples(st.integers(3, 6), st.integers(3, 6)).map(_archive)
for media in ("application/zip", "application/x-tar", "application/gzip", "application/octet-stream"):
    schemathesis.openapi.media_type(media, archives)  # the type is what the content is

names = st.text(string.ascii_lowercase, min_size=1, max_size=20)
schemathesis.openapi.format("uri", st.builds("https://{}.example/{}".format, names, names))


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
def what_the_schema_allows_is_refused_for_what_it_names_only(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """A body that fits the schema fits the model too: what is wrong is which data set or job it names, or a NUL."""
    mode = getattr(getattr(case.meta, "generation", None), "mode", None)
    model = _FITS.get(case.operation.path)
    if model is None or case.method != "POST" or mode != schemathesis.GenerationMode.POSITIVE:
        return
    if response.status_code == 400:
        text = json.dumps(case.body)
        assert "\\u0000" in text or "\\ud" in text, "refused as malformed, and is not"
    if response.status_code == 422:
        assert not (told := _shape_errors(model, case.body)), told


def _shape_errors(model: type[BaseModel], body: object) -> list[str]:
    try:
        model.model_validate(body)
    except ValidationError as error:
        # What two fields say together is no matter of schemas. And schemathesis compares numbers as floats, to which
        # the bound of a seed and what is a little more are one.
        return [
            f"{row['loc']}: {row['msg']}"
            for row in error.errors()
            if row["type"] != "value_error" and row.get("ctx", {}).get("le", 0) < 2**53
        ]
    return []
