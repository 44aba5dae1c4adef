"""Result files and checkpoints of a job."""

from __future__ import annotations

import base64
import re
from typing import Annotated

from fastapi import Header, Request, Response
from sqlalchemy import Connection
from starlette.responses import FileResponse

from api.auth import ReadKey
from api.context import AppContext
from api.problems import NotFound, RangeNotSatisfiable
from api.routing import matches, problems, router
from api.schemas.artifacts import ArtifactList, ArtifactObject, CheckpointList, CheckpointObject
from api.schemas.common import ArtifactName, JobId
from jobs import artifacts, checkpoints, events
from jobs.errors import BlobMissingError
from jobs.records import Artifact, Checkpoint

routes = router("artifacts")

_ONE_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})")
_BYTES = {"schema": {"type": "string", "format": "binary"}}


@routes.get("/jobs/{job_id}/artifacts", responses=problems(NotFound))
async def list_artifacts(job_id: JobId, context: AppContext, key: ReadKey) -> ArtifactList:
    """List a job's result files."""

    def read(connection: Connection) -> list[Artifact]:
        events.last_seq(connection, job_id, organisation=key.organisation_id)
        return artifacts.list_artifacts(connection, job_id)

    return ArtifactList(data=[ArtifactObject.of(row) for row in await context.read(read)])


@routes.get("/jobs/{job_id}/checkpoints", responses=problems(NotFound))
async def list_checkpoints(job_id: JobId, context: AppContext, key: ReadKey) -> CheckpointList:
    """List the checkpoints that are kept of a job, newest first."""

    def read(connection: Connection) -> list[Checkpoint]:
        events.last_seq(connection, job_id, organisation=key.organisation_id)
        return checkpoints.list_checkpoints(connection, job_id)

    return CheckpointList(data=[CheckpointObject.of(row) for row in await context.read(read)])


@routes.get(
    "/jobs/{job_id}/artifacts/{name}",
    response_class=FileResponse,
    responses={
        200: {"description": "The whole file.", "content": {"application/octet-stream": _BYTES}},
        206: {"description": "The bytes that `Range` asked for.", "content": {"application/octet-stream": _BYTES}},
        304: {"description": "Unchanged since the ETag that was sent."},
        **problems(NotFound, RangeNotSatisfiable),
    },
)
async def download_artifact(
    request: Request,
    job_id: JobId,
    name: ArtifactName,
    context: AppContext,
    key: ReadKey,
    byte_range: Annotated[
        str | None, Header(alias="Range", description="One range of bytes, e.g. `bytes=1000-`.")
    ] = None,
    if_range: Annotated[str | None, Header(description="ETag that the range belongs to.")] = None,  # noqa: ARG001
    if_none_match: Annotated[str | None, Header(description="ETag of what is there already.")] = None,  # noqa: ARG001
) -> Response:
    """Download a result file. The ETag is its SHA-256, which `Repr-Digest` holds as well; `Range` resumes."""

    def read(connection: Connection) -> Artifact:
        events.last_seq(connection, job_id, organisation=key.organisation_id)
        return artifacts.get(connection, job_id, name)

    artifact = await context.read(read)
    tag = f'"{artifact.sha256}"'
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    headers = {
        "ETag": tag,
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "private, no-cache",
    }
    if matches(request, tag):
        return Response(status_code=304, headers=headers)
    if not context.store.blobs.exists(artifact.sha256):
        raise BlobMissingError(artifact.sha256)
    if byte_range is not None and not _usable(byte_range, artifact.size):
        # RFC 9110 section 14.2: a range that is not understood is passed over, and the whole file is the answer.
        request.scope["headers"] = [(key, value) for key, value in request.scope["headers"] if key != b"range"]
    media = "application/json" if name.endswith(".json") else "application/octet-stream"
    return FileResponse(
        context.store.blobs.path(artifact.sha256), headers=headers, media_type=media, filename=artifact.name
    )


def _usable(header: str, size: int) -> bool:
    """Whether the header names one range within a file of ``size`` bytes; several ranges are not served.

    Raises:
        RangeNotSatisfiable: it names one range that begins behind the end.
    """
    match = _ONE_RANGE.fullmatch(header.strip())
    if match is None or not (match["first"] or match["last"]):
        return False
    if match["first"] and match["last"] and int(match["first"]) > int(match["last"]):
        return False
    if (match["first"] and int(match["first"]) >= size) or (not match["first"] and int(match["last"]) == 0) or not size:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return True
