"""A table of all settings, read from the settings object of the service."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from documentation.markdown import code, table
from documentation.schemas import Schemas
from jobs.settings import Settings


def listing() -> str:
    """Every variable with its type, default and meaning."""
    schema = Settings.model_json_schema()
    fields = Settings.model_fields
    schemas = Schemas(schema.get("$defs", {}), lambda name: name)
    rows = (
        (
            code(f"FQT_{name.upper()}"),
            schemas.type_of(schema["properties"][name]),
            _default(fields[name].default),
            " ".join([fields[name].description or "", *_bounds(schemas.bounds_of(schema["properties"][name]))]),
        )
        for name in fields
    )
    return table(["variable", "type", "default", "meaning"], rows)


def _default(value: Any) -> str:
    if value is None or repr(value) == "PydanticUndefined":
        return "–"
    shown = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return code(shown) if shown else "empty"


def _bounds(found: list[str]) -> list[str]:
    return [f"({'; '.join(found)})"] if found else []
