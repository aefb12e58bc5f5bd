"""The part of JSON Schema 2020-12 that the pipeline file's schema uses, with faults that say what would be right.

A general validator reports that an instance "is not valid under any of the given schemas", and takes a sixth of the
start to import. The tests hold this one to the verdicts of a general one. Two keywords are Greenlight's own, and
annotations to other validators: `errorMessage` is what a value must be, and `kindOf` names what a `oneOf` of `required`
chooses between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Step = str | int
Schema = Mapping[str, Any]

_NOUNS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """An error at `path`, as the end of a sentence that begins with the path."""

    path: tuple[Step, ...]
    message: str
    key: Step | None = None  # what below `path` it is about, where the message names it


def faults(value: Any, schema: Schema, root: Schema, path: tuple[Step, ...] = ()) -> Iterator[Fault]:
    """Yield everything that is wrong with `value`."""
    schema = resolved(schema, root)
    if not _typed(value, schema) or not _holds(value, schema):
        yield Fault(path, _must(value, schema))
    elif isinstance(value, dict):
        yield from _object(value, schema, root, path)
    elif isinstance(value, list):
        if schema.get("uniqueItems"):
            yield from (Fault(path, f"{item!r} is there twice", i) for i, item in enumerate(value) if item in value[:i])
        for index, item in enumerate(value):
            yield from faults(item, schema.get("items", {}), root, (*path, index))


def filled(value: Any, schema: Schema, root: Schema) -> Any:
    """Return a faultless value with the schema's defaults for what it leaves out."""
    schema = resolved(schema, root)
    if isinstance(value, list):
        return [filled(item, schema.get("items", {}), root) for item in value]
    if not isinstance(value, dict):
        return value
    known: Schema = schema.get("properties", {})
    others = schema.get("additionalProperties") or {}
    whole = {name: filled(item, known.get(name, others), root) for name, item in value.items()}
    for name, of in known.items():
        default = resolved(of, root).get("default")
        if name not in whole and default is not None:
            whole[name] = filled(default, of, root)
    return whole


def resolved(schema: Schema, root: Schema) -> Schema:
    """Return a schema, with the definition that its `$ref` names."""
    if "$ref" not in schema:
        return schema
    return {**root["$defs"][schema["$ref"].removeprefix("#/$defs/")], **schema}


def closest(word: str, known: Sequence[str]) -> str:
    """Return the end of a sentence about an unknown word: the word that was probably meant, or all known ones."""
    from difflib import get_close_matches

    near = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"


def _object(value: dict[str, Any], schema: Schema, root: Schema, path: tuple[Step, ...]) -> Iterator[Fault]:
    known: Schema = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    unknown = [name for name in value if name not in known] if others is False else []
    choices = [choice["required"][0] for choice in schema.get("oneOf", ())]
    chosen = [name for name in choices if name in value]
    noun = schema["kindOf"] if choices and not chosen else "field"
    for name in unknown:
        yield Fault(path, f"unknown {noun} {name!r}; {closest(name, list(known))}", name)
    if choices and not chosen and not unknown:
        yield Fault(path, f"names no {noun}; give one of {', '.join(choices)}")
    if len(chosen) > 1:
        yield Fault(path, f"names {len(chosen)} of {', '.join(choices)} ({', '.join(chosen)}); give one")
    yield from (Fault(path, f"{name!r} is missing") for name in schema.get("required", ()) if name not in value)
    for name, needed in schema.get("dependentRequired", {}).items():
        yield from (
            Fault((*path, name), f"goes only with {other}") for other in needed if name in value and other not in value
        )
    for name, also in schema.get("dependentSchemas", {}).items():
        yield from _object(value, also, root, path) if name in value else ()
    for name, item in value.items():
        yield from (
            Fault((*path, name), fault.message) for fault in faults(name, schema.get("propertyNames", {}), root)
        )
        if name not in unknown:
            yield from faults(item, known.get(name, others or {}), root, (*path, name))


def _typed(value: Any, schema: Schema) -> bool:
    types = schema.get("type")
    wanted = [types] if isinstance(types, str) else types
    return wanted is None or any(name in wanted for name in _names(value))


def _names(value: Any) -> tuple[str, ...]:
    """Return the JSON types of a value."""
    if value is None or isinstance(value, bool):
        return ("null" if value is None else "boolean",)
    if isinstance(value, int | float):
        return ("integer", "number") if value == int(value) else ("number",)
    return ("string" if isinstance(value, str) else "array" if isinstance(value, list) else "object",)


def _holds(value: Any, schema: Schema) -> bool:
    """Return whether the value is within the limits of its type."""
    if "not" in schema or (
        "const" in schema and (value != schema["const"] or type(value) is not type(schema["const"]))
    ):
        return False
    if isinstance(value, str):
        return bool(len(value) >= schema.get("minLength", 0)) and _matches(schema.get("pattern", ""), value)
    if isinstance(value, list):
        return bool(len(value) >= schema.get("minItems", 0))
    if isinstance(value, dict):
        return bool(schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)))
    if value is None or isinstance(value, bool):
        return True
    return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # ECMA-262's $ is the very end; Python's would let a final newline pass.
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)


def _matches(pattern: str, value: str) -> bool:
    return _compiled(pattern).search(value) is not None


def _must(value: Any, schema: Schema) -> str:
    given = f"is {value!r}, but " if isinstance(value, str | int | float | bool) and len(repr(value)) < 80 else ""
    if "errorMessage" in schema:
        message: str = schema["errorMessage"]
        return given + message if message.startswith("must") else message
    types = schema.get("type", "object")
    nouns = " or ".join(_NOUNS[name] for name in ([types] if isinstance(types, str) else types))
    if _typed(value, schema):
        return f"must be {nouns} that is not empty"
    return f"{given}must be {nouns}"
