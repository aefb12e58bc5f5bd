"""Rows as JSON text and back, equal.

What has its default value is left out, and names that this version does not know are passed over, so that rows written
by an older or a newer version can be read. `version`, `recorded` and `titles` change without the rest of their row, so
they lie beside it.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

R = TypeVar("R")

Decode = Callable[[Any], Any]

NO_ROW = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What reading raises where a text is no row."""

_COLUMNS = ("version", "recorded", "titles")


def dumps(row: Any) -> str:
    """Return a row as compact JSON. Raises TypeError or ValueError for what no row may hold (a naive time, a set)."""
    try:
        return orjson.dumps(row, default=_plain, option=_OPTIONS).decode()
    except orjson.JSONEncodeError:
        return _ENCODER.encode(row)  # integers beyond 64 bits; or it says what is wrong


def loads(kind: type[R], text: str, **columns: Any) -> R:
    """Return the row of type `kind` in `text`, with `columns` (its version, say) put in.

    Raises one of NO_ROW where it is none: no JSON, a field missing, or a value of another type than the field's.
    """
    return from_plain(kind, plain(text), **columns)


def from_plain(kind: type[R], found: Mapping[str, Any], **columns: Any) -> R:
    """Return the row of JSON that was read already; that is left as it was."""
    decode = _ROW_DECODERS.get(kind) or _row_decoder(kind)
    if type(found) is not dict:
        raise TypeError(f"{found!r:.40} is no row")
    row: R = decode({**found, **columns})
    return row


def plain(text: str) -> Any:
    """Return JSON as Python values, with integers of any size."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        text.encode()  # raises ValueError for bytes that are no UTF-8, which json would take
        return json.loads(text)


def _plain(value: Any) -> Any:
    """Return a value that the JSON encoder does not know, in types that it knows."""
    if type(value) is datetime:
        if value.tzinfo is None:
            raise ValueError("a time needs a time zone")
        return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat()
    if type(value) is bytes:
        return b64encode(value).decode()
    known = _DEFAULTS.get(type(value))
    if known is None and isinstance(value, Mapping):
        return dict(value)
    return {
        name: item
        for name, default, factory in known or _defaults(type(value))
        if (item := getattr(value, name)) is not default and (item or not factory)
    }


_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"), check_circular=False)


_DEFAULTS: dict[type, tuple[tuple[str, Any, bool], ...]] = {}
_ROW_DECODERS: dict[type, Decode] = {}


def _defaults(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    """Return (name, default, whether it is an empty collection) of each field. Raises TypeError for what is no row."""
    if not is_dataclass(kind):
        raise TypeError(f"no row may hold a {kind.__name__}")
    _DEFAULTS[kind] = tuple(
        (field.name, field.default, field.default_factory is not MISSING)
        for field in fields(kind)
        if field.name not in _COLUMNS
    )
    return _DEFAULTS[kind]


def _row_decoder(kind: type) -> Decode:
    hints = get_type_hints(kind)
    names = {field.name for field in fields(kind)}
    decoders = [(name, decoder) for name in names if (decoder := _decoder(hints[name])) is not None]
    scalars = [(name, types) for name in names - {"recorded"} if (types := _scalars(hints[name]))]
    needed = {name for name in names if not _optional(hints[name])}

    def decode(raw: dict[str, Any]) -> Any:
        for name, types in scalars:
            if name in raw and type(raw[name]) not in types:
                raise TypeError(f"{name} is {raw[name]!r:.40}")
        for name, decoder in decoders:
            value = raw.get(name)
            if value is not None:
                raw[name] = decoder(value)
            elif name in needed and name in raw:
                raise TypeError(f"{name} is null")
        if not raw.keys() <= names:
            raw = {name: value for name, value in raw.items() if name in names}
        return kind(**raw)

    _ROW_DECODERS[kind] = decode
    return decode


_SCALARS = (str, int, bool, float)


def _scalars(hint: Any) -> tuple[type, ...]:
    """Return the JSON types of a field's plain value; empty: it is decoded, or may be anything."""
    choices = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    return choices if all(choice in (*_SCALARS, NoneType) for choice in choices) else ()


def _optional(hint: Any) -> bool:
    return hint is Any or NoneType in get_args(hint)


def _decoder(hint: Any) -> Decode | None:
    """Return a decoder from JSON to type `hint`; None: the value needs none. A decoder raises for another JSON type."""
    if hint is datetime:
        return datetime.fromisoformat
    if hint is bytes:
        return b64decode
    if is_dataclass(hint):
        return _row_decoder(hint)  # type: ignore[arg-type]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _tuple_decoder(_decoder(arguments[0]), _scalars(arguments[0]))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_decoder(_decoder(arguments[1]), _scalars(arguments[1]))
    if NoneType in arguments:
        some = [argument for argument in arguments if argument is not NoneType]
        return _decoder(some[0]) if len(some) == 1 else None
    return None


def _tuple_decoder(item: Decode | None, types: tuple[type, ...]) -> Decode:
    def decode(raw: Any) -> tuple[Any, ...]:
        if type(raw) is not list or (types and not {*map(type, raw)} <= {*types}):
            raise TypeError(f"{raw!r:.40} is no list of what it should be")
        return tuple(raw) if item is None else tuple(item(value) for value in raw)

    return decode


def _mapping_decoder(item: Decode | None, types: tuple[type, ...]) -> Decode:
    def decode(raw: Any) -> Mapping[str, Any]:
        if type(raw) is not dict or (types and not {*map(type, raw.values())} <= {*types}):
            raise TypeError(f"{raw!r:.40} is no mapping of what it should be")
        return raw if item is None else {key: item(value) for key, value in raw.items()}

    return decode
