"""Models: list, upload, download, predict, export, delete. Written once, for both kinds of clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fqt_client.archive import ProgressCallback, form
from fqt_client.download import save
from fqt_client.errors import LocalFileError
from fqt_client.models import Export, Listing, Model, Page, Prediction, RowPrediction
from fqt_client.paging import every, page
from fqt_client.paths import model_path
from fqt_client.transport import AsyncTransport, once
from fqt_client.wire import Blocking, sync, sync_iterator

WORK_SECONDS = 330.0
"""How long one request to check or export a model may take: a little longer than the service gives a worker."""

PREDICT_SECONDS = 60.0

_ROWS = 1000


class AsyncModels:
    """The models of a service; ``client.models`` of an :class:`fqt_client.AsyncClient`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list_page(
        self,
        *,
        job: str | None = None,
        architecture: str | None = None,
        method: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Page[Model]:
        """One page of models, newest first; only those of this job, network or method, if any is given."""
        params = {"job": job, "architecture": architecture, "method": method, "after": after, "limit": limit}
        return await page(self._transport, Model, "/v1/models", **params)

    def list(
        self, *, job: str | None = None, architecture: str | None = None, method: str | None = None
    ) -> AsyncIterator[Model]:
        """All models, newest first, fetched page by page; chosen as by :meth:`list_page`."""
        params = {"job": job, "architecture": architecture, "method": method}
        return every(self._transport, Model, "/v1/models", **params)

    async def get(self, model_id: str) -> Model:
        """One model.

        Raises:
            NotFoundError: there is none with this id.
        """
        return Model.from_json(await self._transport.json("GET", model_path(model_id)))

    async def card(self, model_id: str) -> str:
        """The model's card, Markdown."""
        return (await self._transport.request("GET", model_path(model_id, "card"))).text

    async def delete(self, model_id: str) -> None:
        """Delete a model and its exports."""
        await self._transport.request("DELETE", model_path(model_id))

    async def upload(
        self, source: Path | str, *, name: str | None = None, progress: ProgressCallback | None = None
    ) -> Model:
        """Upload a safetensors file: a packed model, or full-precision weights to start jobs from.

        Args:
            source: the file.
            name: name for people; the file's without its ending if None.
            progress: called with the bytes sent so far and their total.

        Raises:
            LocalFileError: the file cannot be read.
            InvalidRequestError: it is no model that can be used; ``faults`` says why.
            TooLargeError: it is larger than the service allows.
            ServerFaultError: no worker is there to check it.
        """
        path = Path(source)
        with form(path, path.name, {"name": name} if name else {}, progress) as build:
            answer = await self._transport.json("POST", "/v1/models", build=build, headers=once(), timeout=WORK_SECONDS)
        return Model.from_json(answer)

    async def download(
        self, model: Model | str, target: Path | str, *, progress: ProgressCallback | None = None
    ) -> Path:
        """Download a model's file, checked against its sha256; a broken download is resumed.

        Args:
            model: the model or its id.
            target: file to write, or an existing folder to write it into as ``<id>.safetensors`` (``.txt`` of trees).
            progress: called with the bytes so far and their total.

        Raises:
            NotFoundError: there is no such model.
            ChecksumError: the bytes are not those that the service announced.
        """
        found = await self.get(model) if isinstance(model, str) else model
        url = model_path(found.id, "file")
        ending = "txt" if found.format == "trees" else "safetensors"
        return await save(self._transport, url, found, target, f"{found.id}.{ending}", progress)

    async def predict(
        self, model_id: str, images: Sequence[Path | str | bytes], *, top_k: int = 5
    ) -> Listing[Prediction]:
        """Classify images in the service.

        Args:
            model_id: the model.
            images: paths or contents of PNG, JPEG, WebP or BMP files; at most 64, and 8 MiB together.
            top_k: how many classes to name per image.

        Raises:
            LocalFileError: a file cannot be read.
            InvalidRequestError: an image is none; ``faults`` says which, by its number.
            ConflictError: the model are weights, which do not predict.
            ServerFaultError: no worker answered.
        """
        contents = await self._transport.wire.run(_contents, images)

        def body() -> Mapping[str, Any]:
            return {"files": [("image", ("image", content)) for content in contents], "data": {"top_k": str(top_k)}}

        answer = await self._transport.json(
            "POST", model_path(model_id, "predict"), build=body, timeout=PREDICT_SECONDS
        )
        return Page.from_json(Prediction, {"data": answer.get("predictions")}).data

    async def predict_rows(
        self, model_id: str, rows: Sequence[Mapping[str, Any]], *, top_k: int = 5
    ) -> Listing[RowPrediction]:
        """Predict rows of a table with a model of trees, in the service.

        Args:
            model_id: the model.
            rows: values by column name: numbers, strings, truth values; what is left out or None is missing. Any
                number of them: they are sent a thousand at a time.
            top_k: how many classes to name per row.

        Raises:
            InvalidRequestError: a value does not fit its column; ``faults`` says which, by the number of its row among
                the thousand.
            ServerFaultError: no worker answered.
        """
        found: list[Any] = []
        for begin in range(0, len(rows), _ROWS):
            body = {"rows": [dict(row) for row in rows[begin : begin + _ROWS]], "top_k": top_k}
            path = model_path(model_id, "predict")
            answer = await self._transport.json("POST", path, json=body, timeout=PREDICT_SECONDS)
            found += answer.get("predictions") or []
        return Page.from_json(RowPrediction, {"data": found}).data

    async def export(self, model_id: str, format: str = "onnx") -> Export:
        """Have the model exported, unless it was already.

        Raises:
            ConflictError: the model are weights, which are not exported.
            ServerFaultError: no worker answered.
        """
        path, asked = model_path(model_id, "exports"), {"format": format}
        answer = await self._transport.json("POST", path, json=asked, headers=once(), timeout=WORK_SECONDS)
        return Export.from_json(answer)

    async def download_export(
        self, export: Export, target: Path | str, *, progress: ProgressCallback | None = None
    ) -> Path:
        """Download an export, as :meth:`download` does; into a folder as ``<id>.<format>``."""
        url = model_path(export.model, "exports", export.format)
        return await save(self._transport, url, export, target, f"{export.model}.{export.format}", progress)


class Models(Blocking):
    """The models of a service; ``client.models``."""

    list_page = sync(AsyncModels.list_page)
    list = sync_iterator(AsyncModels.list)
    get = sync(AsyncModels.get)
    card = sync(AsyncModels.card)
    delete = sync(AsyncModels.delete)
    upload = sync(AsyncModels.upload)
    download = sync(AsyncModels.download)
    predict = sync(AsyncModels.predict)
    predict_rows = sync(AsyncModels.predict_rows)
    export = sync(AsyncModels.export)
    download_export = sync(AsyncModels.download_export)


def _contents(images: Sequence[Path | str | bytes]) -> list[bytes]:
    return [image if isinstance(image, bytes) else _read(Path(image)) for image in images]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = "name the images in it; `fqt predict` goes through folders" if path.is_dir() else None
        raise LocalFileError(f"cannot read {path}: {error.strerror}", remedy=remedy) from error
