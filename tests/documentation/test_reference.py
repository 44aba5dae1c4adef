"""The API reference shows bodies that the service's own schemas admit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import validator_for

from documentation.reference import Operation, body_example, operations
from documentation.schemas import Schemas

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT: dict[str, Any] = json.loads((ROOT / "api" / "openapi.json").read_text())
SCHEMAS = Schemas(DOCUMENT["components"]["schemas"], lambda name: f"#{name}")
OPERATIONS = [row for found in operations(DOCUMENT).values() for row in found]


def _faults(schema: dict[str, Any], value: Any) -> list[str]:
    whole = {**schema, "components": DOCUMENT["components"]}
    return [f"{list(fault.instance_path)}: {fault.message}" for fault in validator_for(whole).iter_errors(value)]


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: f"{row.verb} {row.path}")
def test_examples_are_valid(row: Operation) -> None:
    body = row.content.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        assert _faults(body["schema"], body_example(body, SCHEMAS)) == []
    for answer in row.content["responses"].values():
        if content := answer.get("content", {}).get("application/json"):
            assert _faults(content["schema"], SCHEMAS.example(content["schema"])) == []


def test_nothing_of_the_document_is_left_out() -> None:
    assert len(OPERATIONS) == sum(len(verbs) for verbs in DOCUMENT["paths"].values())
