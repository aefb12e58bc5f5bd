"""The page that shows the description of the API: each route with parameters, bodies, responses and examples."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response

from greenlight.board import openapi
from greenlight.board.pages.shown import Pages

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A parameter, or a member of a body; `link` names the schema that ends `kind`, `needed` says that it is always there."""

    name: str
    kind: str
    link: str | None
    needed: bool
    about: str


@dataclass(frozen=True, slots=True)
class Shape:
    """A body: its members, or the name of its schema, and an example in JSON."""

    link: str | None
    rows: Sequence[Row]
    example: str | None


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API; `command` is the command line's for the same, `person` says that it needs one."""

    id: str
    tag: str
    method: str
    path: str
    summary: str
    about: str
    person: bool
    parameters: Sequence[Row]
    body: Shape | None
    answer: Shape | None
    responses: Sequence[tuple[str, str]]
    curl: str
    command: str | None


def routes(blueprint: Blueprint, pages: Pages) -> None:
    """Add the page."""

    @blueprint.get("/api")
    def api() -> Response:
        return pages.show("api.html", _values, live=None)


@cache
def _values() -> Mapping[str, Any]:
    """Return what the template shows, which is always the same."""
    document = openapi.document()
    found = [
        _route(method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    schemas = document["components"]["schemas"].items()
    return {
        "info": document["info"],
        "groups": [(tag, [route for route in found if route.tag == tag["name"]]) for tag in document["tags"]],
        "schemas": [(name, schema.get("description", ""), _kind(schema), _rows(schema)) for name, schema in schemas],
    }


def _route(method: str, path: str, operation: Schema) -> Route:
    parameters = [_resolved(parameter) for parameter in operation.get("parameters", ())]
    responses = {status: _resolved(response) for status, response in operation["responses"].items()}
    body = operation.get("requestBody")
    good = next(response for status, response in responses.items() if status.startswith("2"))
    return Route(
        operation["operationId"],
        operation["tags"][0],
        method.upper(),
        path,
        operation["summary"],
        operation.get("description", ""),
        {} not in operation.get("security", [{}]),
        [
            _row(
                parameter["name"],
                parameter["schema"],
                needed=parameter.get("required", False),
                about=parameter["description"],
            )
            for parameter in parameters
        ],
        None if body is None else _shape(body),
        _shape(good),
        [(status, response["description"]) for status, response in sorted(responses.items())],
        _curl(method, path, parameters, body),
        operation.get("x-cli"),
    )


def _resolved(value: Schema) -> Schema:
    """Return a part of the description, or what it refers to."""
    while "$ref" in value:
        found = openapi.document()
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def _shape(body: Schema) -> Shape:
    content = body["content"]["application/json"]
    example = content.get("example")
    link = _name(content["schema"])
    return Shape(
        link,
        () if link else _rows(content["schema"]),
        None if example is None else json.dumps(example, ensure_ascii=False, indent=2),
    )


def _name(schema: Schema) -> str | None:
    """Return the name of the schema to which this one only refers."""
    return schema["$ref"].rpartition("/")[2] if "$ref" in schema else None


def _rows(schema: Schema, before: str = "") -> list[Row]:
    """Return the members of an object, and of objects inside that have no name: `a.b`, in lists `a[].b`, by name `a.*.b`."""
    found: list[Row] = []
    for part in schema.get("allOf", ()):
        found += _rows(_resolved(part), before)
    for name, member in schema.get("properties", {}).items():
        found.append(_row(before + name, member, needed=name in schema.get("required", ())))
        found += [row for inner, step in _inside(member) for row in _rows(inner, f"{before}{name}{step}.")]
    return found


def _inside(schema: Schema) -> Iterator[tuple[Schema, str]]:
    """Yield the schemas without a name that a value may have, or the values in it, and how one gets to these."""
    if "$ref" in schema:
        return
    yield schema, ""
    for other in schema.get("anyOf", ()):
        yield from _inside(other)
    for key, step in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(key), Mapping):
            yield from ((inner, step + more) for inner, more in _inside(schema[key]))


def _row(name: str, schema: Schema, *, needed: bool, about: str = "") -> Row:
    kind, link = _kind(schema)
    about = about or schema.get("description", "")
    if "default" in schema:
        about += f"; without it {schema['default']}"
    return Row(name, kind, link, needed, about)


def _kind(schema: Schema) -> tuple[str, str | None]:
    """Return what a value is, in words, and the name of a schema that belongs behind them."""
    if "$ref" in schema:
        return "", _name(schema)
    if "anyOf" in schema:
        one, *_ = schema["anyOf"]
        words, link = _kind(one)
        return f"null, or {words}", link
    if "enum" in schema or "const" in schema:
        return " or ".join(map(str, schema.get("enum", [schema.get("const")]))), None
    types = schema.get("type", "object")
    words = " or ".join([types] if isinstance(types, str) else types)
    for key, text in (("items", "list of "), ("additionalProperties", "object of ")):
        if isinstance(schema.get(key), Mapping):
            inner, link = _kind(schema[key])
            return text + inner, link
    return words + _bounds(schema), None


def _bounds(schema: Schema) -> str:
    found = ""
    if "minimum" in schema and "maximum" in schema:
        found += f", {schema['minimum']} to {schema['maximum']}"
    elif "minimum" in schema:
        found += f", at least {schema['minimum']}"
    if "maxLength" in schema:
        found += f", {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    if "pattern" in schema:
        found += f", {schema['pattern']}"
    return found + (f", {schema['format']}" if "format" in schema else "")


def _curl(method: str, path: str, parameters: Sequence[Schema], body: Schema | None) -> str:
    """Return a command that asks for this in a shell, with the description's examples."""
    names = {
        parameter["name"]: str(parameter.get("example", "")) for parameter in parameters if parameter["in"] == "path"
    }
    asked = {
        parameter["name"]: parameter["example"]
        for parameter in parameters
        if parameter["in"] == "query" and parameter.get("required")
    }
    address = re.sub(r"\{(\w+)\}", lambda found: names[found[1]], path) + (f"?{urlencode(asked)}" if asked else "")
    words = ['curl -H "Authorization: Bearer $GREENLIGHT_TOKEN"']
    if body is not None:
        example = json.dumps(body["content"]["application/json"]["example"], ensure_ascii=False)
        words += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(example)}"]
    return " ".join([*words, f'"$GREENLIGHT_URL{address}"'])
