"""A model of a scripted service."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx

from tests.client.fake import Script

CONTENT = b"a model"
MODEL_ID = "mdl_01JD0000000000000000000000"
PATH = f"/v1/models/{MODEL_ID}"
MODEL: dict[str, Any] = {
    "id": MODEL_ID,
    "name": "pets",
    "format": "packed",
    "architecture": {"name": "resnet18"},
    "method": {"name": "fqt"},
    "classes": ["cat", "dog"],
    "metrics": {"validation_accuracy": 0.875},
    "size": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
    "lineage": {"job": None, "dataset": "digits", "parent": None, "teacher": None},
}
EXPORT = {"model": MODEL_ID, "format": "onnx", "size": len(CONTENT), "sha256": MODEL["sha256"], "details": {}}


def answer(script: Script) -> None:
    """Script the routes of the model."""
    top = [{"label": "cat", "probability": 0.9}, {"label": "dog", "probability": 0.1}]
    found = {"label": "cat", "probability": 0.9, "top": top}
    script.on("GET", "/v1/models", httpx.Response(200, json={"data": [MODEL], "has_more": False}))
    script.on("POST", "/v1/models", httpx.Response(201, json=MODEL))
    script.on("GET", PATH, httpx.Response(200, json=MODEL))
    script.on("DELETE", PATH, httpx.Response(204))
    script.on("GET", f"{PATH}/card", httpx.Response(200, text="# pets\n"))
    script.on("GET", f"{PATH}/file", httpx.Response(200, content=CONTENT))
    script.on("POST", f"{PATH}/predict", httpx.Response(200, json={"model": MODEL_ID, "predictions": [found]}))
    script.on("POST", f"{PATH}/exports", httpx.Response(201, json=EXPORT))
    script.on("GET", f"{PATH}/exports/onnx", httpx.Response(200, content=CONTENT))
