"""Result files and checkpoints of a job."""

from __future__ import annotations

from fastapi import Request, Response
from sqlalchemy import Connection
from starlette.responses import FileResponse

from api.auth import ReadKey
from api.context import AppContext
from api.files import FILE_ANSWERS, ByteRange, IfNoneMatch, IfRange, serve_file
from api.problems import NotFound, RangeNotSatisfiable
from api.routing import problems, router
from api.schemas.artifacts import ArtifactList, ArtifactObject, CheckpointList, CheckpointObject
from api.schemas.common import ArtifactName, JobId
from jobs import artifacts, checkpoints, events
from jobs.records import Artifact, Checkpoint

routes = router("artifacts")


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
    responses={**FILE_ANSWERS, **problems(NotFound, RangeNotSatisfiable)},
)
async def download_artifact(
    request: Request,
    job_id: JobId,
    name: ArtifactName,
    context: AppContext,
    key: ReadKey,
    _range: ByteRange = None,
    _if_range: IfRange = None,
    _if_none_match: IfNoneMatch = None,
) -> Response:
    """Download a result file. The ETag is its SHA-256, which `Repr-Digest` holds as well; `Range` resumes."""

    def read(connection: Connection) -> Artifact:
        events.last_seq(connection, job_id, organisation=key.organisation_id)
        return artifacts.get(connection, job_id, name)

    artifact = await context.read(read)
    media = "application/json" if name.endswith(".json") else "application/octet-stream"
    return await serve_file(request, context, artifact.sha256, artifact.size, name=artifact.name, media=media)
