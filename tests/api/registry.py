"""An app on a real broker, with the desks of a worker beside it: real children that read models and images."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import redis
import torch
from fastapi.testclient import TestClient
from PIL import Image

from api.app import create_app
from fqt_core import export
from fqt_core.config import ArchitectureConfig, Convnet, Method
from fqt_core.convert import convert_
from fqt_core.models import build
from jobs.asks import DESKS
from jobs.settings import Settings
from jobs.store import Store
from tests.api.conftest import RecordingDoorbell
from worker.asks import Listener
from worker.warm import MODEL_COMMAND

CLASSES = ["ant", "bee", "cat"]
TINY = Convnet(width=0.25, image_size=8, channels=1)


@dataclass
class Registry:
    """A client with every scope, the app's store, and what stands for the worker."""

    client: TestClient
    store: Store
    doorbell: RecordingDoorbell
    listeners: list[Listener]

    def upload(self, content: bytes, **fields: str) -> httpx.Response:
        files = {"file": ("model.safetensors", content)}
        return self.client.post("/v1/models", files=files, data=fields)


class Bridge(httpx.BaseTransport):
    """Hands the client's requests to an app in this process."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = dict(request.headers)
        url = request.url.raw_path.decode()
        found = self._client.request(request.method, url, content=request.read(), headers=headers)
        return httpx.Response(found.status_code, headers=dict(found.headers), content=found.content)


@contextmanager
def registry(folder: Path, broker: str, command: Sequence[str] = MODEL_COMMAND, **changes: Any) -> Iterator[Registry]:
    """An app and a worker's desks with these settings; the broker is emptied first."""
    with redis.Redis.from_url(broker) as connection:
        connection.flushdb()
    settings = Settings(data_dir=folder / "data", broker_url=broker, reaper_seconds=600, threads=1, **changes)
    doorbell = RecordingDoorbell()
    app = create_app(settings, doorbell=doorbell)
    draining = threading.Event()
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {settings.key_path.read_text().strip()}"
        store = app.state.context.store
        listeners = [Listener(store, draining, desk, command) for desk in DESKS]
        threads = [threading.Thread(target=listener.run) for listener in listeners]
        for thread in threads:
            thread.start()
        try:
            yield Registry(client, store, doorbell, listeners)
        finally:
            draining.set()
            for thread in threads:
                thread.join(20)


def packed(folder: Path, config: ArchitectureConfig = TINY, method: str = "fqt", **changes: Any) -> bytes:
    """A packed model with random weights."""
    torch.manual_seed(0)
    model = build(config, num_classes=len(CLASSES))
    convert_(model, Method(method))
    path = folder / "packed.safetensors"
    count = config.channels
    inputs = {"image_size": config.image_size, "channels": count, "mean": [0.5] * count, "std": [0.25] * count}
    export.save_packed(model.eval(), path, classes=CLASSES, preprocessing=inputs, **changes)
    return path.read_bytes()


def weights(folder: Path, config: ArchitectureConfig = TINY, change: Callable[[Any], None] | None = None) -> bytes:
    """Full-precision weights of a network."""
    torch.manual_seed(0)
    model = build(config, num_classes=len(CLASSES))
    if change is not None:
        change(model)
    path = folder / "weights.safetensors"
    export.save_weights(model, path, classes=CLASSES)
    return path.read_bytes()


def picture(shade: int = 0, size: int = 8, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    image = Image.linear_gradient("L").resize((size, size)).point([(value + shade) % 256 for value in range(256)])
    image.save(data, kind)
    return data.getvalue()
