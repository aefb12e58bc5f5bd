"""An OpenAPI 3.0 description, by which requests and answers are checked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012


class Description:
    """The description of an API. Each check returns what deviates from it."""

    def __init__(self, path: Path) -> None:
        self._document = _modern(json.loads(path.read_text()))
        resource = Resource.from_contents(self._document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource("urn:api", resource)
        self._paths = {re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)): path for path in self._document["paths"]}

    def request(self, method: str, path: str, query: dict[str, str], body: Any) -> list[str]:
        """Check the path, the query and the body of a request."""
        operation = self._operation(method, path)
        if operation is None:
            return [f"{method} {path}: there is no such operation"]
        known = {it["name"]: it["schema"] for it in map(self._resolved, operation.get("parameters", []))}
        found = [f"{method} {path}: unknown parameter {name}" for name in query if name not in known]
        for name, text in query.items():
            schema = known.get(name, {})
            value = int(text) if schema.get("type") == "integer" and text.isdecimal() else text
            found += self._faults(value, schema, f"{method} {path}?{name}")
        if "requestBody" in operation:
            schema = self._resolved(operation["requestBody"])["content"]["application/json"]["schema"]
            if body is not None:
                found += self._faults(body, schema, f"{method} {path}")
                strange = set(body) - set(self._resolved(schema).get("properties", body))
                found += [f"{method} {path}: unknown field {name}" for name in strange]
        elif body is not None:
            found.append(f"{method} {path}: takes no body")
        return found

    def answer(self, method: str, path: str, status: int, value: Any) -> list[str]:
        """Check an answer."""
        operation = self._operation(method, path) or {"responses": {}}
        response = operation["responses"].get(str(status))
        if response is None:
            return [f"{method} {path}: no answer {status} is described"]
        content = self._resolved(response).get("content", {}).get("application/json")
        return self._faults(value, content["schema"], f"{method} {path} {status}") if content else []

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        matches = [name for pattern, name in self._paths.items() if pattern.fullmatch(path)]
        matches.sort(key=lambda name: name.count("{"))
        found = (self._document["paths"][name].get(method.lower()) for name in matches)
        return next((it for it in found if it is not None), None)

    def _resolved(self, value: Any) -> Any:
        while "$ref" in value:
            at = self._document
            for step in value["$ref"].removeprefix("urn:api#/").split("/"):
                at = at[step]
            value = at
        return value

    def _faults(self, value: Any, schema: Any, where: str) -> list[str]:
        validator = Draft202012Validator(schema, registry=self._registry)
        return [f"{where}: {it.json_path}: {it.message[:300]}" for it in validator.iter_errors(value)]


def _modern(value: Any) -> Any:
    """Return the description with `nullable` as JSON Schema says it."""
    if isinstance(value, list):
        return [_modern(it) for it in value]
    if not isinstance(value, dict):
        return value
    found = {key: _modern(it) for key, it in value.items()}
    if isinstance(found.get("$ref"), str) and found["$ref"].startswith("#"):
        found["$ref"] = "urn:api" + found["$ref"]
    if found.pop("nullable", None) is True:
        if isinstance(found.get("enum"), list) and None not in found["enum"]:
            found["enum"] = [*found["enum"], None]
        return {"anyOf": [found, {"type": "null"}]}
    return found
