"""The real app on a loopback port, with a hand for the workers' part, so that jobs and data sets get to every state."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import itertools
import re
import socket
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app, prepare
from api.server import Server, configuration
from fqt_core.data import look_through, profile
from jobs import artifacts, blob_rows, checkpoints, datasets, events, imports, jobs, keys, lease, models
from jobs.asks import Desk
from jobs.blobs import Blob
from jobs.completion import complete
from jobs.errors import JobsError
from jobs.ids import new_id
from jobs.offers import Offer
from jobs.records import Dataset, Job
from jobs.settings import Settings
from jobs.states import JobState
from jobs.store import Store
from tests.api import registry
from tests.fuzz.archives import archive, picture
from worker.model_desk import ModelDesk

_PAUSED_SECONDS = 3.0


class Workers:
    """Stands for the workers of a service: looks through data sets when rung, and plays every job that waits."""

    def __init__(self) -> None:
        self.store: Store | None = None
        with tempfile.TemporaryDirectory() as folder:
            self._model = registry.packed(Path(folder))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def begin(self, store: Store) -> None:
        self.store = store
        self._thread.start()

    def ring_job(self, job_id: str, queue: str) -> None:
        pass

    def ring_dataset(self, dataset_id: str) -> None:
        threading.Thread(target=self._inspect, args=(dataset_id,), daemon=True).start()

    def broker_answers(self) -> bool:
        return True

    def worker_answers(self) -> bool:
        return True

    def offers(self) -> list[Offer] | None:
        return [Offer(("cpu", "cuda"), 8 << 30, "a GPU")]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def _inspect(self, dataset_id: str) -> None:
        assert self.store is not None
        with self.store.write() as connection:
            row = datasets.claim_check(connection, dataset_id, 60)
        if row is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            outcome = self._look(row, Path(folder) / "thumbnails")
        with self.store.write() as connection:
            for blob in (outcome.get("thumbnails"), outcome.get("listing")):
                if blob is not None:
                    blob_rows.register(connection, self.store.blobs, blob)
            datasets.finish_check(connection, dataset_id, row.check_epoch, **outcome)

    def _look(self, row: Dataset, thumbnails: Path) -> dict[str, Any]:
        """What came of a look, ready for ``finish_check``. Every URL leads to the same archive."""
        assert self.store is not None
        source = row.source or {}
        if source.get("kind") == "folder":
            look = look_through(self.store.settings.folders[source["folder"]], thumbnails=thumbnails)
            assert look.listing is not None
            listing = self.store.blobs.put_stream([look.listing])
            return {
                "profile": look.profile, "thumbnails": self._keep(thumbnails), "listing": listing, "size": look.size
            }  # fmt: skip
        if source.get("kind") == "url":
            content = archive((3, 4))
            if source.get("sha256") not in {None, hashlib.sha256(content).hexdigest()}:
                return {"error": {"code": "digest_mismatch", "message": "the file has another SHA-256", "faults": []}}
            with self.store.write() as connection:
                found = imports.fetched(connection, self.store.blobs, row, self.store.blobs.put_stream([content]))
            assert found is not None
            row = found
        assert row.sha256 is not None
        record = profile(self.store.blobs.path(row.sha256), thumbnails=thumbnails)
        if record["faults"]:
            error = {"code": "dataset_invalid", "message": "the data set cannot be used", "faults": record["faults"]}
            return {"error": error}
        return {"profile": record, "thumbnails": self._keep(thumbnails)}

    def _keep(self, thumbnails: Path) -> Blob:
        assert self.store is not None
        return self.store.blobs.put_stream([thumbnails.read_bytes()])

    def _play(self) -> None:
        """Run what waits, every other second, so that jobs are seen waiting as well; cancel what is paused for long.

        A stream of a job that never ends would never end either.
        """
        while not self._stop.wait(0.05):
            if int(time.monotonic()) % 2:
                with contextlib.suppress(JobsError):
                    self._round()

    def _round(self) -> None:
        assert self.store is not None
        while (job := self._claim(self.store)) is not None:
            self._attempt(job)
        with self.store.write() as connection:
            for resting in jobs.list_jobs(connection, states=[JobState.PAUSED, JobState.QUEUED]).data:
                seconds = time.time() - resting.created_at.timestamp()
                if seconds > _PAUSED_SECONDS:  # paused, or in a queue that nobody serves
                    jobs.request_cancel(connection, resting.id)

    def _claim(self, store: Store) -> Job | None:
        with store.write() as connection:
            return lease.claim(connection, ["cpu", "cuda"], "fuzz", 60)

    def _attempt(self, job: Job) -> None:
        assert self.store is not None
        store, job_id, epoch = self.store, job.id, job.lease_epoch
        steps = [("metric", {"kind": "step", "step": step, "loss": 1 / step}) for step in (1, 2)]
        state = store.blobs.put_stream([job_id.encode()])
        files = [
            ("report.json", "report", b'{"a": 1}', None),
            ("model.safetensors", "model", self._model, {"fp32_bytes": 4 * len(self._model)}),
            ("examples.webp", "examples", picture(100, "webp"), {"side": 8, "columns": 1, "cells": [[0, 1, 1]]}),
        ]
        blobs = [store.blobs.put_stream([content]) for _, _, content, _ in files]
        with store.write() as connection:
            events.append(connection, job_id, epoch, [("log", {"level": "info", "message": "plays"}), *steps])
            checkpoints.add(connection, store.blobs, job_id, epoch, state, step=2, keep=2)
            for (name, kind, _, details), blob in zip(files, blobs, strict=True):
                artifacts.add(connection, store.blobs, job_id, epoch, blob, name=name, kind=kind, details=details)
            complete(connection, store.blobs, job, {"step": 2}, model_id=new_id(models.PREFIX))


class Desks:
    """Stands for the desks of a worker: without a broker in between and in this process. Predicts for real."""

    def __init__(self, store: Store, folder: Path) -> None:
        folder.mkdir()
        self._store = store
        self._folder = folder
        self._desk = ModelDesk(folder, threads=1, cache_bytes=1 << 26)
        self._lock = threading.Lock()
        self._warm_up()

    def _warm_up(self) -> None:
        """Import what the first question does: for longer, on a busy machine, than anybody waits."""
        model = self._store.blobs.put_stream([registry.packed(self._folder)])
        assert self._answer({"kind": "inspect", "sha256": model.sha256}, [])["ok"]

    async def ask(
        self, _desk: Desk, header: dict[str, Any], payload: Sequence[bytes] = (), *, seconds: float
    ) -> dict[str, Any]:
        return await asyncio.to_thread(self._answer, header, payload)

    async def close(self) -> None:
        pass

    def _answer(self, header: dict[str, Any], payload: Sequence[bytes]) -> dict[str, Any]:
        if header["kind"] == "export":  # seconds of work, of which the API sees a file and details
            blob = self._store.blobs.put_stream([header["sha256"].encode()])
            return {"ok": True, "details": {"opset": 18}, "sha256": blob.sha256, "size": blob.size}
        with self._lock:
            asked = header | {"path": str(self._store.blobs.path(header["sha256"]))}
            answered = self._desk.answer(asked, payload)
            return {"ok": answered.ok, **answered.values}


class OnceOnly:
    """Makes each Idempotency-Key one of its own: the same with another body is refused, which no schema can say."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.count = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [(name, self._own(name, value)) for name, value in scope["headers"]]
        await self.app(scope, receive, send)

    def _own(self, name: bytes, value: bytes) -> bytes:
        if name != b"idempotency-key" or not re.fullmatch(rb"[!-~]{1,255}", value):
            return value
        return b"%d-%s" % (next(self.count), value[:200])


class LetIn:
    """Lets the fuzzer in with the key that it came with, although it revokes and rotates that one like any other."""

    def __init__(self, app: ASGIApp, store: Store, plain: str) -> None:
        self.app = app
        self._store = store
        self._sent = f"Bearer {plain}".encode()
        self._valid = plain
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = (b"authorization", self._sent)
        if scope["type"] == "http" and header in scope["headers"]:
            valid = (b"authorization", f"Bearer {await asyncio.to_thread(self._key)}".encode())
            scope["headers"] = [valid if row == header else row for row in scope["headers"]]
        await self.app(scope, receive, send)

    def _key(self) -> str:
        """One that opens, with every scope: the last one, or a new one if that has ended."""
        secret = self._store.key_secret
        with self._lock:
            with self._store.read() as connection:
                opens = keys.verify(connection, secret, self._valid) is not None
            if not opens:
                with self._store.write() as connection:
                    _, self._valid = keys.create(connection, secret, name="fuzzer", scopes=["admin"])
            return self._valid


class Service:
    """The app under uvicorn in a thread. ``requests`` counts what it has answered."""

    def __init__(self, folder: Path) -> None:
        photos = folder.with_name("photos")
        photos.mkdir()
        with zipfile.ZipFile(io.BytesIO(archive((3, 3)))) as file:
            file.extractall(photos)
        # Without limits of rates: behind an answer that something was asked too often, nothing is tested.
        self.settings = Settings(
            data_dir=folder, reaper_seconds=600, max_upload_bytes=1 << 20,
            dataset_urls="public", dataset_folders=f"photos={photos}",
            rate_limit_key="off", rate_limit_address="off", rate_limit_failures="off",
        )  # fmt: skip
        self.workers = Workers()
        self.app: FastAPI = create_app(self.settings, doorbell=self.workers)
        context = self.app.state.context
        object.__setattr__(context, "asker", Desks(context.store, folder / "desks"))
        self._socket = socket.create_server(("127.0.0.1", 0))
        prepare(context)
        self.app.add_middleware(OnceOnly)
        self.app.add_middleware(LetIn, store=context.store, plain=self.key())
        self._server = Server(self.app, configuration(self.app, self.settings))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def requests(self) -> int:
        registry = self.app.state.context.instruments.registry
        samples = [sample for metric in registry.collect() for sample in metric.samples]
        return int(sum(sample.value for sample in samples if sample.name == "fqt_http_request_seconds_count"))

    def start(self) -> None:
        self.app.openapi()  # made at its first use, for which a busy machine may need longer than anybody waits
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.workers.begin(self.app.state.context.store)

    def key(self) -> str:
        return self.settings.key_path.read_text().strip()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Service]:
    """A service of its own. Names do not resolve in this process, so that no webhook reaches out of it."""
    resolve = socket.getaddrinfo

    def numeric(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve(host, *arguments, **{**options, "flags": socket.AI_NUMERICHOST})

    socket.getaddrinfo = numeric
    service = Service(folder)
    service.start()
    try:
        yield service
    finally:
        service.stop()
        socket.getaddrinfo = resolve
