"""The API reference as a plain page: rendered from the OpenAPI document, with no script and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

routes = APIRouter(include_in_schema=False)


@routes.get("/docs")
async def reference(request: Request) -> HTMLResponse:
    """Show the API reference."""
    return HTMLResponse(render(request.app.openapi()))


def render(document: dict[str, Any]) -> str:
    """Return the page for an OpenAPI document."""
    operations = [
        (verb, path, operation) for path, verbs in document["paths"].items() for verb, operation in verbs.items()
    ]
    sections = []
    for tag in document.get("tags", []):
        mine = [row for row in operations if tag["name"] in row[2].get("tags", [])]
        body = "".join(_operation(*row) for row in mine)
        sections.append(
            f"<h2 id='{escape(tag['name'])}'>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>{body}"
        )
    schemas = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    info = document["info"]
    intro = "".join(f"<p>{_text(line)}</p>" for line in info.get("description", "").splitlines() if line.strip())
    title = f"{escape(info['title'])} {escape(info['version'])}: API reference"
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><link rel='stylesheet' href='/page/base.css'>"
        "<link rel='icon' href='data:,'></head><body><main>"
        f"<h1>{title}</h1>{intro}<p><a href='/openapi.json'>openapi.json</a></p>"
        f"{''.join(sections)}<h2 id='schemas'>Schemas</h2>{schemas}</main></body></html>"
    )


def _operation(verb: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<p>{_text(operation.get('description', ''))}</p>"]
    if parameters := operation.get("parameters"):
        rows = (
            (row["name"], f"{row['in']}, {_type(row.get('schema', {}))}", row.get("description", ""))
            for row in parameters
        )
        parts.append(_table("Parameters", rows))
    if body := operation.get("requestBody"):
        rows = ((media, _type(content["schema"]), "") for media, content in body["content"].items())
        parts.append(_table("Body", rows))
    parts.append(_table("Answers", _answers(operation["responses"])))
    public = "" if operation.get("security") else " <span class='tag'>public</span>"
    return (
        f"<details id='{escape(operation['operationId'])}'><summary><code class='{escape(verb)}'>{escape(verb.upper())}"
        f"</code> <code>{escape(path)}</code> {escape(operation.get('summary', ''))}{public}</summary>"
        f"{''.join(parts)}</details>"
    )


def _answers(responses: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for status, response in responses.items():
        content: dict[str, Any] = next(iter(response.get("content", {}).values()), {})
        codes = ", ".join(content.get("examples", {}))
        yield status, codes or _type(content.get("schema", {})), response.get("description", "")


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = (
        (field, _type(part) + (", required" if field in required else ""), part.get("description", ""))
        for field, part in schema.get("properties", {}).items()
    )
    return (
        f"<details id='schema-{escape(name)}'><summary><code>{escape(name)}</code></summary>"
        f"<p>{_text(schema.get('description', ''))}</p>{_table('Fields', rows)}</details>"
    )


def _table(title: str, rows: Any) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(str(name))}</code></td><td>{kind}</td><td>{_text(text)}</td></tr>"
        for name, kind, text in rows
    )
    return f"<h3>{escape(title)}</h3><table>{cells}</table>"


def _type(schema: dict[str, Any]) -> str:
    """Return a short name of a schema, as HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f"<a href='#schema-{name}'>{name}</a>"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(part) for part in schema[several])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    kind = escape(str(schema.get("type", "any")))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    bounds = ", ".join(
        f"{sign} {escape(str(schema[name]))}"
        for name, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", "&gt;"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "&lt;"),
        )
        if name in schema
    )
    return f"{kind} {bounds}".strip()


def _text(text: str) -> str:
    """Escape prose and set `code` apart."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))
