"""Predictions over HTTP: ResNet-18 at width 1, one image of 32x32 pixels per request, one client, one worker, SQLite.

Warm: the worker's process has the model. Cold: it has to be started first, with torch, and reads the model.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time

import torch
from PIL import Image

from benchmarks.cli import say
from benchmarks.errors import BenchmarkError
from benchmarks.results import Row
from benchmarks.service import place
from benchmarks.service.figures import row, spread
from benchmarks.service.http import Connection
from fqt_core import export
from fqt_core.config import Fqt, Resnet18
from fqt_core.convert import convert_
from fqt_core.models import build
from jobs import models
from jobs.store import Store
from jobs.tables import DEFAULT_ORGANISATION

_SIZE, _CLASSES = 32, 10
_WARM_UP, _REQUESTS = 30, 300


def measure() -> list[Row]:
    """Two rows: the first answer, and the median of those after it."""
    with place.service(place.SQLITE) as service:
        service.api()
        service.worker()
        cold, warm = asyncio.run(_times(service, _model(service.store)))
    what = "a prediction over HTTP, ResNet-18, one image of 32x32"
    say(f"cold {cold:.0f} ms, warm {json.dumps(spread(warm))}")
    return [
        row("predictions", place.SQLITE, f"{what}, warm, median", spread(warm)["p50"], "ms", ms=spread(warm)),
        row("predictions", place.SQLITE, f"{what}, the worker's first", cold, "ms"),
    ]


async def _times(service: place.Service, model_id: str) -> tuple[float, list[float]]:
    """Milliseconds of the first request, and of those after some more."""
    connection = Connection(service.settings.port, {"Authorization": f"Bearer {service.key}"})
    body = json.dumps({"images": [base64.b64encode(_image()).decode()]}).encode()

    async def one() -> float:
        begin = time.perf_counter()
        status, answer = await connection.post(f"/v1/models/{model_id}/predict", body, {})
        if status != 200:
            raise BenchmarkError(f"a prediction is answered with status {status}: {answer[:200]!r}")
        return (time.perf_counter() - begin) * 1e3

    cold = await one()
    for _ in range(_WARM_UP):
        await one()
    warm = [await one() for _ in range(_REQUESTS)]
    connection.close()
    return cold, warm


def _model(store: Store) -> str:
    """Register a packed model with random weights; what it predicts takes as long as anything."""
    torch.manual_seed(0)
    network = build(Resnet18(image_size=_SIZE), num_classes=_CLASSES)
    convert_(network, Fqt())
    path = store.settings.data_dir / "model.safetensors"
    inputs = {"image_size": _SIZE, "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}
    export.save_packed(network.eval(), path, classes=[str(n) for n in range(_CLASSES)], preprocessing=inputs)
    facts = export.inspect_model(path).model_dump(mode="json")
    with store.write() as connection:
        blob = store.blobs.put_file(path)
        return models.create(connection, store.blobs, blob, organisation=DEFAULT_ORGANISATION, facts=facts).id


def _image() -> bytes:
    data = io.BytesIO()
    Image.effect_noise((_SIZE, _SIZE), 60).convert("RGB").save(data, "PNG")
    return data.getvalue()
