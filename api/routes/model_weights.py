"""What is inside a model: its layers and their weights, and examples of what it confuses."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import Header, Query, Request, Response
from sqlalchemy import Connection
from starlette.responses import FileResponse

from api.auth import ReadKey
from api.context import AppContext
from api.files import PICTURE_ANSWERS, serve_picture
from api.problems import DeadlineExceeded, ModelNotUsable, NotFound, NoWorker, Unavailable
from api.routes.models import ask, packed_model
from api.routing import problems, router
from api.schemas.common import LayerName, ModelId
from api.schemas.model_weights import MOST_FILTERS, LayerList, LayerObject, LayerWeights
from jobs import models
from jobs.errors import NotFoundError

routes = router("models")

_ASKED = problems(NotFound, ModelNotUsable, Unavailable, NoWorker, DeadlineExceeded)


@routes.get("/models/{model_id}/layers", responses=_ASKED)
async def list_layers(request: Request, model_id: ModelId, context: AppContext, key: ReadKey) -> LayerList:
    """List the layers of a model that have a weight, in the order of the network. A worker reads them."""
    row = await packed_model(context, model_id, key.organisation_id)
    found = await ask(context, request, "predict", {"kind": "layers"}, row.sha256)
    return LayerList(data=[LayerObject.model_validate(layer) for layer in found["layers"]])


@routes.get("/models/{model_id}/layers/{layer}", responses=_ASKED)
async def get_layer(
    request: Request,
    model_id: ModelId,
    layer: LayerName,
    context: AppContext,
    key: ReadKey,
    first: Annotated[int, Query(ge=0, le=2**31, description="The first filter (output channel).")] = 0,
    count: Annotated[int, Query(ge=1, le=MOST_FILTERS, description="Filters at most.")] = 64,
) -> LayerWeights:
    """Get weights of a layer: of so many filters, or of as many as 512 KiB hold; signs where there is a bit each."""
    row = await packed_model(context, model_id, key.organisation_id)
    asked = {"kind": "layer", "layer": layer, "first": first, "count": count}
    found = await ask(context, request, "predict", asked, row.sha256)
    return LayerWeights.model_validate(found)


@routes.get(
    "/models/{model_id}/examples",
    response_class=FileResponse,
    responses={**PICTURE_ANSWERS, **problems(NotFound)},
)
async def get_examples(
    request: Request,
    model_id: ModelId,
    context: AppContext,
    key: ReadKey,
    if_none_match: Annotated[str | None, Header(description="ETag of what is there already.")] = None,  # noqa: ARG001
) -> Response:
    """Get a picture with validation images of each cell of the confusion matrix: row i shows cell i.

    Where they are, `evaluation.examples` of the model says. Uploads have none, nor models of earlier versions.
    """

    def read(connection: Connection) -> str | None:
        models.get(connection, model_id, organisation=key.organisation_id)
        try:
            return models.get_export(connection, model_id, models.EXAMPLES).sha256
        except NotFoundError:
            return None

    sha256 = await context.read(read)
    if sha256 is None:
        raise NotFound(f"The model {model_id} has no examples.")
    local = partial(context.store.blobs.local, sha256)
    return await serve_picture(request, local, version=sha256, name=f"{model_id}.webp")
