"""JSON schemas of the OpenAPI document as Markdown: types in a few words, tables of fields, and examples."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from documentation.markdown import code, join, table

Schema = dict[str, Any]
_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
}
_ID = "01M87YP1ESYFM4N7235VH39XS8"
_PREFIXES = {
    "dataset": "ds",
    "job": "job",
    "model": "mdl",
    "key": "key",
    "sweep": "swp",
    "webhook": "whk",
    "delivery": "msg",
}
_TEXTS = {
    "date-time": "2026-01-31T12:00:00Z",
    "uri": "https://example.org/photos.zip",
    "binary": "(bytes)",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
_DEPTH = 6


class Schemas:
    """The named schemas of a document. ``link`` gives the address of one by its name."""

    def __init__(self, named: dict[str, Schema], link: Callable[[str], str]) -> None:
        self._named = named
        self._link = link

    def resolved(self, schema: Schema) -> Schema:
        """The schema itself, behind a reference."""
        return self._named[_name(schema)] if "$ref" in schema else schema

    def type_of(self, schema: Schema) -> str:
        """A schema in a few words, those that have names as links."""
        if "$ref" in schema:
            return f"[{_name(schema)}]({self._link(_name(schema))})"
        if values := [schema["const"]] if "const" in schema else schema.get("enum"):
            return ", ".join(code(json.dumps(value)) for value in values)
        if variants := _variants(schema):
            return " or ".join(dict.fromkeys(self.type_of(variant) for variant in variants))
        kind = schema.get("type", "any value")
        inner = schema.get("items") if kind == "array" else schema.get("additionalProperties")
        if isinstance(inner, dict):
            return f"{'list' if kind == 'array' else 'object'} of {self.type_of(inner)}"
        return str(schema.get("format", kind)) if isinstance(kind, str) else " or ".join(kind)

    def bounds_of(self, schema: Schema) -> list[str]:
        """What limits a value, in words."""
        found = [words.format(f"{schema[name]:g}") for name, words in _BOUNDS.items() if name in schema]
        if "pattern" in schema:
            found.append(code(schema["pattern"]))
        for variant in _variants(schema):
            found += [words for words in self.bounds_of(variant) if words not in found]
        return found

    def fields(self, schema: Schema) -> str:
        """A table of the fields of an object, those of each variant under its name."""
        schema = self.resolved(schema)
        if variants := _variants(schema):
            return join(self._variant(variant) for variant in variants)
        required = schema.get("required", ())
        rows = (
            (code(name), self.type_of(field), _presence(name in required, field), self._meaning(field))
            for name, field in schema.get("properties", {}).items()
        )
        return table(["field", "type", "default", "meaning"], rows)

    def example(self, schema: Schema, name: str = "", depth: int = 0) -> Any:
        """A small value that the schema admits: what it gives as an example, else the least that has to be there."""
        schema = self.resolved(schema)
        given = [schema.get("const"), schema.get("default"), *schema.get("examples", ()), *schema.get("enum", ())]
        if any(value is not None for value in given):
            value = next(value for value in given if value is not None)
            return self._completed(schema, value)
        if variants := _variants(schema):
            return self.example(variants[0], name, depth)
        if "properties" in schema:
            return self._object(schema, depth)
        if schema.get("minProperties"):
            kinds = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
            return {name: self.example(next(kind for kind in kinds if isinstance(kind, dict)), name, depth + 1)}
        if schema.get("type") == "array":
            one = self.example(schema["items"], name, depth + 1) if depth < _DEPTH else None
            least = schema.get("minItems", 0)
            return [one] * max(1, least) if one is not None or least else []
        return _scalar(schema, name)

    def _completed(self, schema: Schema, value: Any) -> Any:
        """An example as a schema gives it, with the fields that it leaves out although they are always there."""
        kinds = [self.resolved(variant) for variant in _variants(schema) or [schema]]
        if isinstance(value, list):
            items: Schema = next((kind["items"] for kind in kinds if "items" in kind), {})
            return [self._completed(self.resolved(items), one) for one in value]
        fields = next((kind["properties"] for kind in kinds if "properties" in kind), None)
        if not isinstance(value, dict) or fields is None:
            return value
        required = next(kind.get("required", ()) for kind in kinds if "properties" in kind)
        left_out = {name: self.example(fields[name], name, 1) for name in required if name not in value}
        given = {name: self._completed(self.resolved(fields.get(name, {})), one) for name, one in value.items()}
        return given | left_out

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        shown = properties if depth < 1 and not schema.get("required") else schema.get("required", ())
        made = {name: self.example(properties[name], name, depth + 1) for name in shown if name in properties}
        prefix = _PREFIXES.get(schema.get("title", "").removesuffix("Object").lower())
        return made | {"id": f"{prefix}_{_ID}"} if prefix and "id" in made else made

    def _variant(self, variant: Schema) -> str:
        if "$ref" in variant:
            return f"{self.type_of(variant)}:\n\n{self.fields(variant)}"
        return self.fields(variant) or self.type_of(variant)

    def _meaning(self, field: Schema) -> str:
        sentences = [field.get("description") or self.resolved(field).get("description", "")]
        if limits := self.bounds_of(field):
            sentences.append(f"({'; '.join(limits)})")
        return " ".join(part for part in sentences if part)


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rsplit("/", 1)[1]


def _variants(schema: Schema) -> list[Schema]:
    return next((schema[key] for key in ("oneOf", "anyOf", "allOf") if key in schema), [])


def _presence(required: bool, field: Schema) -> str:
    if "default" in field:
        return code(json.dumps(field["default"], ensure_ascii=False))
    return "required" if required else "–"


def _scalar(schema: Schema, name: str) -> Any:
    kind = schema.get("type")
    if kind in {"integer", "number"}:
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1 if "exclusiveMinimum" in schema else 0)
        return int(least) if kind == "integer" else float(least)
    if kind != "string":
        return {"boolean": True, "object": {}}.get(str(kind))
    return _text(schema, name)


def _text(schema: Schema, name: str) -> str:
    pattern = schema.get("pattern", "")
    if found := re.match(r"\^\(?([a-z]+)_?[|\[]", pattern) or re.match(r"\^\(?([a-z]+)_", pattern):
        return f"{found[1]}_{_ID}"
    key = "sha256" if "{64}" in pattern else "uri" if name.endswith("url") else schema.get("format", name)
    return _TEXTS.get(key) or (name.replace("_", "-") or "text")[: schema.get("maxLength")].ljust(
        schema.get("minLength", 0), "x"
    )
