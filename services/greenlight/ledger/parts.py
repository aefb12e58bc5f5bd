"""A record in parts, so that a fact on a commit that has thousands writes only what it changes. Pure.

A part is one value in one of the record's mappings: its signal for one ref, one person's approval, the push of one ref. Its
path is the field's name and the keys that lead to the value. What a part looks like when it is stored is the record's own JSON
(rows_json) with nothing but that value in it, `{"signals": {KEY: {REF: {...}}}}`: laid over each other, the rest of the record
and its parts are the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, cast, get_args, get_origin, get_type_hints

from greenlight.ledger.rows_json import dumps, from_plain, plain
from greenlight.model.rows import Record

WHOLE = 64
"""Parts up to which a record is stored in one piece: nearly every commit has fewer, and one piece is read and written best."""

Path = tuple[str, ...]
Parts = Mapping[Path, Any]


def _depth(hint: Any) -> int:
    """Return how many keys lead to a value: 1 for a mapping, 2 for a mapping of mappings, 0 for any other value."""
    origin = get_origin(hint)
    if not (isinstance(origin, type) and issubclass(origin, Mapping)):
        return 0
    return 1 + _depth(get_args(hint)[1])


_DEPTHS = {name: depth for name, hint in get_type_hints(Record).items() if (depth := _depth(hint))}
_EMPTY: Mapping[str, Any] = {}
_NO_PARTS = cast(Any, dict.fromkeys(_DEPTHS, _EMPTY))


def large(record: Record) -> bool:
    """Return whether the record has more than WHOLE parts, and is stored in several pieces."""
    return next(islice(_parts(record), WHOLE, None), None) is not None


def parts(record: Record) -> Parts:
    """Return every part of the record, by its path."""
    return dict(_parts(record))


def changed(before: Record, after: Record) -> tuple[Parts, frozenset[Path]]:
    """Return the parts of `after` that differ from `before`, and the paths of those that are gone.

    What both share is not looked into: a fact costs what it changes, and a pass over the keys beside it.
    """
    new: dict[Path, Any] = {}
    gone: set[Path] = set()
    for name, depth in _DEPTHS.items():
        _compare((name,), depth, getattr(before, name), getattr(after, name), new, gone)
    return new, frozenset(gone)


def rest(record: Record) -> str:
    """Return everything but the parts, as JSON."""
    return dumps(replace(record, **_NO_PARTS))


def piece(some: Parts) -> str:
    """Return parts as JSON."""
    found: dict[str, Any] = {}
    for path, value in some.items():
        at = found
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = value
    return dumps(found)


def path_text(path: Path) -> str:
    """Return the path as one text, different for different paths."""
    return dumps(list(path))


def whole(rest: str, pieces: str, **columns: Any) -> Record:
    """Return the record of `rest` and `pieces`, a JSON array: a later piece replaces parts of an earlier one."""
    found = plain(rest)
    for each in plain(pieces):
        for name, mapping in each.items():
            _merge(found.setdefault(name, {}), mapping, _DEPTHS.get(name, 0))
    return from_plain(Record, found, **columns)


def over(record: Record, rest: Record, pieces: Sequence[str]) -> Record:
    """Return the parts of `record` replaced by later pieces, in turn, and another rest."""
    found: dict[str, Any] = {name: getattr(record, name) for name in _DEPTHS}
    for each in pieces:
        some = from_plain(Record, {"repo": record.repo, "sha": record.sha, **plain(each)})
        for path, value in _parts(some):
            found[path[0]] = _put(found[path[0]], path[1:], value)
    return replace(rest, **found)


def _put(mapping: Mapping[str, Any], keys: Path, value: Any) -> Mapping[str, Any]:
    below = value if len(keys) == 1 else _put(mapping.get(keys[0], _EMPTY), keys[1:], value)
    return {**mapping, keys[0]: below}


def _parts(record: Record) -> Iterator[tuple[Path, Any]]:
    for name, depth in _DEPTHS.items():
        yield from _below((name,), depth, getattr(record, name))


def _below(at: Path, depth: int, mapping: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    for key, value in mapping.items():
        if depth == 1:
            yield (*at, key), value
        else:
            yield from _below((*at, key), depth - 1, value)


def _compare(
    at: Path, depth: int, old: Mapping[str, Any], now: Mapping[str, Any], new: dict[Path, Any], gone: set[Path]
) -> None:
    if old is now:
        return
    for key, value in now.items():
        was = old.get(key, _EMPTY)
        if was is value:
            continue
        if depth > 1:
            _compare((*at, key), depth - 1, was, value, new, gone)
        elif was != value:
            new[*at, key] = value
    if not old.keys() <= now.keys():
        for key in old.keys() - now.keys():
            gone.update([(*at, key)] if depth == 1 else (path for path, _ in _below((*at, key), depth - 1, old[key])))


def _merge(under: dict[str, Any], over: Mapping[str, Any], depth: int) -> None:
    """Put the upper value into the lower one, both as plain JSON."""
    for key, value in over.items():
        if depth > 1:
            _merge(under.setdefault(key, {}), value, depth - 1)
        else:
            under[key] = value
