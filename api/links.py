"""OpenAPI links: which operation makes what another one's path names, so that a program can follow them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Parameters of paths, and the operations whose answer's `id` is one.
_MAKERS: dict[str, tuple[str, ...]] = {
    "job_id": ("create_job", "openai_create_job"),
    "dataset_id": ("upload_dataset", "openai_upload_file"),
    "key_id": ("create_key",),
    "webhook_id": ("create_webhook",),
    "sweep_id": ("create_sweep",),
    "model_id": ("upload_model",),
    "delivery_id": ("send_test_message",),
}
# The same of parameters of queries, which name a resource to choose by.
_CHOOSERS: dict[str, str] = {"job": "job_id", "sweep": "sweep_id"}


def add(document: dict[str, Any]) -> None:
    """Write a link into each making operation's answers for each operation on what it makes."""
    operations = {
        operation["operationId"]: (path, operation)
        for path, verbs in document["paths"].items()
        for operation in verbs.values()
    }
    for parameter, makers in _MAKERS.items():
        for maker in makers:
            if maker not in operations:
                continue
            path, made = operations[maker]
            links = dict(_links(operations, parameter, path))
            answers = made["responses"]
            # 200 beside 201 is an answer of another kind: a dry run makes nothing.
            for status in ("201", "202") if "201" in answers else ("200", "202"):
                if status in answers and links:
                    answers[status].setdefault("links", {}).update(links)


def _links(
    operations: dict[str, tuple[str, dict[str, Any]]], parameter: str, made_at: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, (path, operation) in operations.items():
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        known = {other: f"$request.path.{other}" for other in names if f"{{{other}}}" in made_at}
        # A link has to fill the whole path; what it cannot fill is a name, of which there are some that always are.
        if parameter in names and set(names) <= {parameter, *known, "name"}:
            filled = {**known, parameter: "$response.body#/id"}
            if "name" in names:
                filled["name"] = "report.json"
            yield name, {"operationId": name, "parameters": filled}
        queried = {row["name"] for row in operation.get("parameters", ()) if row["in"] == "query"}
        for chooser in (query for query, made in _CHOOSERS.items() if made == parameter and query in queried):
            yield name, {"operationId": name, "parameters": {f"query.{chooser}": "$response.body#/id"}}
