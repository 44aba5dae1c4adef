"""The API reference: a Markdown page for each resource of the OpenAPI document, one for objects, one for problems."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from documentation.markdown import GENERATED, code, join, slug, table
from documentation.schemas import Schema, Schemas

FOLDER = "api"
OBJECTS = f"{FOLDER}/objects.md"
PROBLEMS = f"{FOLDER}/problems.md"
_PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Operation:
    """One operation of the document: ``POST /v1/jobs``."""

    verb: str
    path: str
    content: dict[str, Any]

    @property
    def heading(self) -> str:
        """Its summary, which is a heading of its page."""
        return str(self.content["summary"])

    @property
    def problems(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Status, code and document of each problem that it may answer with."""
        for status, answer in self.content["responses"].items():
            for name, example in answer.get("content", {}).get(_PROBLEM, {}).get("examples", {}).items():
                yield status, name, example["value"]


def page_of(tag: str) -> str:
    """Where the page of a resource is."""
    return f"{FOLDER}/{tag}.md"


def operations(document: dict[str, Any]) -> dict[str, list[Operation]]:
    """All operations by resource, in the order of the document."""
    found: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, verbs in document["paths"].items():
        for verb, content in verbs.items():
            for tag in content["tags"]:
                found[tag].append(Operation(verb.upper(), path, content))
    return found


def pages(document: dict[str, Any]) -> dict[str, str]:
    """Markdown by path below ``docs/``."""
    schemas = Schemas(document["components"]["schemas"], lambda name: f"objects.md#{slug(name)}")
    by_tag = operations(document)
    made = {page_of(tag["name"]): _resource(tag, by_tag[tag["name"]], schemas) for tag in document["tags"]}
    return made | {OBJECTS: _objects(document, schemas), PROBLEMS: _problems(by_tag)}


def overview(document: dict[str, Any]) -> str:
    """A table of all operations, for the page that stands above the others."""
    rows = [
        (f"[{code(f'{operation.verb} {operation.path}')}]({page_of(tag)}#{slug(operation.heading)})", operation.heading)
        for tag, found in operations(document).items()
        for operation in found
    ]
    return table(["request", "what it does"], rows)


def _resource(tag: dict[str, str], found: list[Operation], schemas: Schemas) -> str:
    rows = ((code(f"{row.verb} {row.path}"), f"[{row.heading}](#{slug(row.heading)})") for row in found)
    intro = [GENERATED, f"# {tag['name']}", tag["description"], table(["request", ""], rows)]
    return join([*intro, *(part for row in found for part in _operation(row, schemas))])


def _operation(row: Operation, schemas: Schemas) -> Iterator[str]:
    yield f"## {row.heading}"
    yield f"```http\n{row.verb} {row.path}\n```"
    yield str(row.content.get("description", ""))
    scopes = [scope for entry in row.content.get("security", ()) for part in entry.values() for scope in part]
    yield f"Needs a key with the scope {', '.join(code(scope) for scope in scopes)}." if scopes else "Needs no key."
    parameters = (
        (
            code(parameter["name"]),
            parameter["in"],
            schemas.type_of(parameter["schema"]),
            "required" if parameter.get("required") else _default(parameter["schema"]),
            _described(parameter, schemas),
        )
        for parameter in row.content.get("parameters", ())
    )
    yield _titled("Parameters", table(["name", "in", "type", "default", "meaning"], parameters))
    for media, content in row.content.get("requestBody", {}).get("content", {}).items():
        yield from _body(media, content, schemas)
    yield "**Answers**"
    shown: set[str] = set()
    for status, answer in row.content["responses"].items():
        if status < "4":
            yield from _answer(status, answer, schemas, shown)
    problems = (
        (status, f"[{code(name)}](problems.md#{slug(name)})", value["title"]) for status, name, value in row.problems
    )
    yield _titled("Problems", table(["status", "code", ""], problems))


def _body(media: str, content: dict[str, Any], schemas: Schemas) -> Iterator[str]:
    schema = content["schema"]
    kind = f" ({schemas.type_of(schema)})" if "$ref" in schema else ""
    yield f"**Body**, {code(media)}{kind}"
    if "$ref" not in schema or media != "application/json":
        yield schemas.fields(schema)
    if media == "application/json":
        yield _json(body_example(content, schemas))


def body_example(content: dict[str, Any], schemas: Schemas) -> Any:
    """A body that an operation takes: the document's own example, or one made from its schema."""
    given = [example["value"] for example in content.get("examples", {}).values()]
    return given[0] if given else schemas.example(content["schema"])


def _answer(status: str, answer: dict[str, Any], schemas: Schemas, shown: set[str]) -> Iterator[str]:
    text = answer.get("description", "")
    meaning = HTTPStatus(int(status)).phrase if text == "Successful Response" else text
    contents = answer.get("content", {})
    kinds = "; ".join(f"{code(media)} {schemas.type_of(_schema(content))}" for media, content in contents.items())
    yield f"{code(status)} {meaning}{f': {kinds}' if kinds else ''}"
    if headers := answer.get("headers"):
        yield table(["header", "meaning"], ((code(name), row.get("description", "")) for name, row in headers.items()))
    for media, content in contents.items():
        kind = schemas.type_of(_schema(content))
        if media == "application/json" and kind not in shown:
            shown.add(kind)
            yield _folded("Example", _json(schemas.example(_schema(content))))


def _schema(content: dict[str, Any]) -> Schema:
    found: Schema = content.get("schema") or content.get("itemSchema") or {}
    return found


def _objects(document: dict[str, Any], schemas: Schemas) -> str:
    parts = [GENERATED, "# Objects", "Everything that requests and answers are made of, by name."]
    for name, schema in document["components"]["schemas"].items():
        parts += [f"## {name}", schema.get("description", "")]
        parts.append(schemas.fields(schema) if "properties" in schema else f"One of {schemas.type_of(schema)}.")
    return join(parts)


def _problems(by_tag: dict[str, list[Operation]]) -> str:
    examples: dict[str, dict[str, Any]] = {}
    users: dict[str, list[str]] = defaultdict(list)
    for tag, found in by_tag.items():
        for row in found:
            for _, name, value in row.problems:
                examples.setdefault(name, value)
                users[name].append(f"[{code(f'{row.verb} {row.path}')}]({tag}.md#{slug(row.heading)})")
    parts = [
        GENERATED,
        "# Problems",
        "Every 4xx and 5xx answer is a problem document (RFC 9457), `application/problem+json`: "
        "[ProblemDocument](objects.md#problemdocument). Its `code` is stable and what programs should "
        "look at; `detail` is for people; `errors` lists every wrong field at once.",
    ]
    for name, value in sorted(examples.items(), key=lambda entry: (entry[1]["status"], entry[0])):
        parts += [f"## {name}", f"{value['title']}: status {code(str(value['status']))}.", _json(value)]
        parts.append(_folded(f"{len(users[name])} operations answer with it", ", ".join(users[name])))
    return join(parts)


def _described(parameter: dict[str, Any], schemas: Schemas) -> str:
    limits = schemas.bounds_of(parameter["schema"])
    return " ".join(filter(None, [parameter.get("description", ""), f"({'; '.join(limits)})" if limits else ""]))


def _default(schema: Schema) -> str:
    return code(json.dumps(schema["default"])) if schema.get("default") is not None else "–"


def _titled(title: str, content: str) -> str:
    return f"**{title}**\n\n{content}" if content else ""


def _folded(title: str, content: str) -> str:
    return f'<details markdown="1"><summary>{title}</summary>\n\n{content}\n\n</details>'


def _json(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"
