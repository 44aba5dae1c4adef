"""Data sets: upload, list, get, delete. Written once, for both kinds of clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fqt_client.archive import ProgressCallback, form, uploadable
from fqt_client.errors import FieldFault, InvalidRequestError, WaitTimeoutError
from fqt_client.models import Dataset, Page
from fqt_client.paging import every, page
from fqt_client.paths import dataset_path
from fqt_client.transport import AsyncTransport, once
from fqt_client.wire import Blocking, sync, sync_iterator

CHECK_SECONDS = 60.0
"""How long one upload request waits for the service's check of the images."""


class AsyncDatasets:
    """The data sets of a service; ``client.datasets`` of an :class:`fqt_client.AsyncClient`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def upload(
        self,
        source: Path | str,
        *,
        name: str | None = None,
        progress: ProgressCallback | None = None,
        wait: float = 600.0,
    ) -> Dataset:
        """Upload an archive, or a folder with one folder of images per class, and wait until it has been checked.

        Args:
            source: zip, tar(.gz), IDX or NPZ file, or a folder (it is zipped to a temporary file first).
            name: name for people; that of the file or folder without its ending if None.
            progress: called with the bytes sent so far and their total.
            wait: seconds to wait for the check of the images after the upload.

        Raises:
            LocalFileError: the file or folder cannot be read, or is empty.
            InvalidRequestError: the data set cannot be used; ``faults`` lists what is wrong and where.
            TooLargeError: it is larger than the service allows.
            WaitTimeoutError: the check did not end in time (is a worker running?).
        """
        with ExitStack() as stack:
            file, filename = await self._transport.wire.run(stack.enter_context, uploadable(Path(source)))
            fields = {"name": name or _stem(filename)}
            build = stack.enter_context(form(file, filename, fields, progress))
            return await self._brought("/v1/datasets", wait, build=build)

    async def from_url(
        self, url: str, *, name: str | None = None, sha256: str | None = None, wait: float = 600.0
    ) -> Dataset:
        """Have the service download a data set, and wait until it has been checked.

        Args:
            url: an http or https URL of the file itself; redirects are not followed.
            name: name for people; that of the file if None.
            sha256: digest (hex) that the file must have; any if None.
            wait: seconds to wait for download and check.

        Raises:
            PermissionDeniedError: the service downloads nothing.
            InvalidRequestError: the URL is refused, the download failed, or the data set cannot be used.
            WaitTimeoutError: it did not end in time (is a worker running?).
        """
        return await self._brought("/v1/datasets/from-url", wait, json={"url": url, "name": name, "sha256": sha256})

    async def from_folder(self, folder: str, *, name: str | None = None, wait: float = 600.0) -> Dataset:
        """Make a data set of a folder that the service has mounted, as it is now, and wait until it has been checked.

        Raises:
            NotFoundError: there is no such folder.
            InvalidRequestError: it cannot be used; ``faults`` lists what is wrong and where.
            WaitTimeoutError: the check did not end in time (is a worker running?).
        """
        return await self._brought("/v1/datasets/from-folder", wait, json={"folder": folder, "name": name})

    async def folders(self) -> tuple[str, ...]:
        """Names of the folders that :meth:`from_folder` takes (the first hundred)."""
        answer = await self._transport.json("GET", "/v1/dataset-folders", params={"limit": 100})
        return tuple(str(entry["name"]) for entry in answer["data"])

    async def thumbnails(self, dataset_id: str) -> bytes:
        """A picture (WebP) with some images of each class; the profile's ``thumbnails`` says where each class is.

        Raises:
            NotFoundError: there is no such data set, or it has none.
        """
        answer = await self._transport.request("GET", dataset_path(dataset_id, "thumbnails"))
        return answer.content

    async def _brought(self, path: str, wait: float, **body: Any) -> Dataset:
        params = {"wait": min(wait, CHECK_SECONDS)}
        patience = CHECK_SECONDS + 60.0
        answer = await self._transport.json("POST", path, params=params, headers=once(), timeout=patience, **body)
        return await self._checked(Dataset.from_json(answer), wait)

    async def list_page(self, *, after: str | None = None, limit: int | None = None) -> Page[Dataset]:
        """One page of data sets, the built-in ones included."""
        return await page(self._transport, Dataset, "/v1/datasets", after=after, limit=limit)

    def list(self) -> AsyncIterator[Dataset]:
        """All data sets, fetched page by page."""
        return every(self._transport, Dataset, "/v1/datasets")

    async def get(self, dataset_id: str) -> Dataset:
        """One data set with its profile.

        Raises:
            NotFoundError: there is none with this id.
        """
        return Dataset.from_json(await self._transport.json("GET", dataset_path(dataset_id)))

    async def delete(self, dataset_id: str) -> None:
        """Delete an uploaded data set.

        Raises:
            ConflictError: a job that has not ended uses it.
        """
        await self._transport.request("DELETE", dataset_path(dataset_id))

    async def _checked(self, dataset: Dataset, wait: float) -> Dataset:
        waited = 0.0
        while dataset.state == "checking":
            if waited >= wait:
                raise WaitTimeoutError(
                    f"the check of data set {dataset.id} did not end within {wait:g} s",
                    remedy="see whether a worker is running; `fqt datasets show` tells when it is done",
                )
            await self._transport.wire.sleep(1.0)
            waited += 1.0
            dataset = await self.get(dataset.id)
        if dataset.state == "invalid":
            error = dataset.error or {}
            faults = error.get("faults") or error.get("errors") or []
            raise InvalidRequestError(
                str(error.get("message") or "the data set cannot be used"),
                status=422,
                code=str(error.get("code") or "dataset_invalid"),
                faults=tuple(
                    FieldFault(
                        str(entry.get("where") or ""),
                        "; ".join(str(entry[part]) for part in ("message", "remedy") if entry.get(part)),
                    )
                    for entry in faults
                ),
            )
        return dataset


def _stem(filename: str) -> str:
    for ending in (".tar.gz", ".tgz", ".zip", ".tar", ".npz"):
        if filename.lower().endswith(ending) and len(filename) > len(ending):
            return filename[: -len(ending)]
    return filename


class Datasets(Blocking):
    """The data sets of a service; ``client.datasets``."""

    upload = sync(AsyncDatasets.upload)
    from_url = sync(AsyncDatasets.from_url)
    from_folder = sync(AsyncDatasets.from_folder)
    folders = sync(AsyncDatasets.folders)
    thumbnails = sync(AsyncDatasets.thumbnails)
    list_page = sync(AsyncDatasets.list_page)
    list = sync_iterator(AsyncDatasets.list)
    get = sync(AsyncDatasets.get)
    delete = sync(AsyncDatasets.delete)
