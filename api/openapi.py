"""The OpenAPI document: what the framework derives, completed; ``python -m api.openapi`` writes the committed copy."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from api import links
from api.problems import FieldError, OpenAIProblemDocument, ProblemDocument
from jobs.settings import Settings
from jobs.spec import JobSpec

_ARCHIVES = "application/zip, application/x-tar, application/gzip, application/octet-stream"
PATH = Path(__file__).parent / "openapi.json"
DESCRIPTION = """\
Upload labelled images, submit a training job, follow it, download the model.

Errors are problem documents (RFC 9457) with a stable `code`; `errors` lists every wrong field at once.

Lists are pages: ask with `limit`, and with `after` the last entry's id as long as `has_more`.

Repeating a creating request is safe with an `Idempotency-Key`.

A job is followed at `events/stream`: server-sent events that resume with `Last-Event-ID`.

Every answer carries an `X-Request-ID`, the client's own if it sent one.
"""
TAGS = [
    {"name": "datasets", "description": "Labelled images to train on."},
    {"name": "jobs", "description": "Training jobs."},
    {"name": "events", "description": "What a job reports while it runs."},
    {"name": "metrics", "description": "A job's curves."},
    {"name": "compare", "description": "Jobs side by side."},
    {"name": "sweeps", "description": "Searches over fields of a job spec."},
    {"name": "artifacts", "description": "What a job leaves behind."},
    {"name": "models", "description": "Finished and uploaded models: predict, export, download."},
    {"name": "methods", "description": "What can be asked for."},
    {"name": "webhooks", "description": "Messages to a URL of yours when a job or a data set changes."},
    {"name": "openai", "description": "For OpenAI's clients: their words for files and fine-tuning jobs."},
    {"name": "keys", "description": "API keys."},
    {"name": "session", "description": "A browser's session, which stands for a key."},
    {"name": "audit", "description": "Who changed what."},
    {"name": "health", "description": "For whoever runs the service."},
]


def install(app: FastAPI) -> None:
    """Complete the app's document with the schemas that no route names by type."""
    derived = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = derived()
            schemas = found.setdefault("components", {}).setdefault("schemas", {})
            for model in (ProblemDocument, OpenAIProblemDocument, FieldError, JobSpec):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                inner = schema.pop("$defs", {})
                for name, part in {**inner, model.__name__: schema}.items():
                    schemas.setdefault(name, part)
            found["components"]["schemas"] = dict(sorted(schemas.items()))
            for verbs in found["paths"].values():
                for operation in verbs.values():
                    _tidy(operation)
            links.add(found)
            _require_names(found["components"]["schemas"])
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _require_names(schemas: dict[str, Any]) -> None:
    """Where a field tells variants apart, it cannot be left out, though each variant has a default for it."""
    fields = [field for schema in schemas.values() for field in schema.get("properties", {}).values()]
    parts = [part for field in fields for part in (field, *field.get("anyOf", ()))]
    for discriminator in (part["discriminator"] for part in parts if "discriminator" in part):
        for reference in discriminator["mapping"].values():
            variant = schemas[reference.rsplit("/", 1)[-1]]
            required = {*variant.get("required", ()), discriminator["propertyName"]}
            variant["required"] = sorted(required)


def _tidy(operation: dict[str, Any]) -> None:
    """Say what the framework cannot: a parameter that is left out is not null, and what an uploaded file may be."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        if "anyOf" in schema:
            kept = [part for part in schema["anyOf"] if part != {"type": "null"}]
            parameter["schema"] = {name: value for name, value in schema.items() if name != "anyOf"}
            parameter["schema"] |= kept[0] if len(kept) == 1 else {"anyOf": kept}
    form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    if form is not None and "file" in form["schema"].get("properties", {}):
        form.setdefault("encoding", {"file": {"contentType": _ARCHIVES}})


def render() -> str:
    """Return the document of an app with default settings, as it is committed."""
    from api.app import create_app  # noqa: PLC0415 - the factory imports this module

    with tempfile.TemporaryDirectory(prefix="fqt-openapi-") as folder:
        app = create_app(Settings(data_dir=Path(folder)))
        document = app.openapi()
        app.state.context.store.close()
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the document."""
    parser = argparse.ArgumentParser(prog="python -m api.openapi", description="Write the OpenAPI document.")
    parser.add_argument("path", nargs="?", type=Path, default=PATH, help="where to (default: the committed copy)")
    path: Path = parser.parse_args().path
    path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
