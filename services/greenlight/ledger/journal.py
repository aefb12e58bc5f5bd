"""The journal's chain: hash = SHA-256(0x01 ‖ prev ‖ JCS({seq, type, at, id, payload})).

JCS is RFC 8785, whose numbers are IEEE 754 doubles. So that every reader in any language computes the same bytes, an
entry's payload is made portable before it is hashed, and stored in its canonical form (see `portable`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import orjson
import rfc8785

from greenlight.events import rfc3339
from greenlight.model.rows import Entry, NewEntry

ZEROS = "0" * 64
"""The `prev` of a stream's first entry."""

_SAFE = 2**53 - 1


def portable(value: Any) -> Any:
    """Return `value` as JSON that every reader reads alike.

    A number that a double cannot be trusted with (beyond ±(2^53 - 1), infinity, not-a-number) becomes its decimal text,
    and half a surrogate pair becomes its escape: neither has a canonical form that everybody reads alike.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -_SAFE <= value <= _SAFE else str(value)
    if isinstance(value, float):
        return value if isfinite(value) and abs(value) <= _SAFE else repr(value)
    if isinstance(value, Mapping):
        return {portable(key): portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    raise ValueError(f"a journal entry cannot hold a {type(value).__name__}")


def portable_form(value: Mapping[str, Any]) -> bytes:
    """Return the canonical form of the portable part of `value`."""
    if _plain(value):
        try:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:  # half a surrogate pair
            pass
    return canonical(portable(value))


def canonical(value: Any) -> bytes:
    """Return JCS (RFC 8785) of a JSON value. Raises ValueError for one without: see `portable`."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS) if _plain(value) else rfc8785.dumps(value)


def _plain(value: Any) -> bool:
    """Return whether JCS needs no more than sorted names and plain integers: no floats, names in ASCII."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return bool(-_SAFE <= value <= _SAFE)
    if isinstance(value, dict):
        return all(type(key) is str and key.isascii() and _plain(item) for key, item in value.items())
    return isinstance(value, list) and all(_plain(item) for item in value)


def entry_hash(seq: int, type: str, at: str, id: str, payload: Mapping[str, Any], prev: bytes) -> bytes:
    """Return the hash (32 bytes) of an entry that follows the one with hash `prev` (32 bytes; zeros for the first)."""
    return link(seq, type, at, id, canonical(payload), prev)


def link(seq: int, type: str, at: str, id: str, payload: bytes, prev: bytes) -> bytes:
    """Return `entry_hash` for a payload that is canonical already."""
    if len(prev) != 32:
        raise ValueError(f"the hash of the entry before has 32 bytes, not {len(prev)}")
    # JCS orders names by their UTF-16 code units: at, id, payload, seq, type.
    parts = (
        b'{"at":', canonical(at), b',"id":', canonical(id), b',"payload":', payload,
        b',"seq":', canonical(seq), b',"type":', canonical(type), b"}",
    )  # fmt: skip
    return hashlib.sha256(b"\x01" + prev + b"".join(parts)).digest()


def next_entry(entry: NewEntry, last: Entry | None) -> Entry:
    """Return an entry as it is appended to a stream that ends with `last`; None: to an empty one."""
    seq, prev = (1, ZEROS) if last is None else (last.seq + 1, last.hash)
    payload, at = portable_form(entry.payload), rfc3339(entry.at)
    hash = link(seq, entry.type, at, entry.id, payload, bytes.fromhex(prev))
    return Entry(entry.stream, seq, entry.type, at, entry.id, orjson.loads(payload), prev, hash.hex())


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of checking a chain."""

    entries: int  # how many hold, from the first on
    head: str  # hash of the last one that holds
    bad: int | None = None  # seq of the first entry that does not hold
    reason: str | None = None  # why, for people

    @property
    def holds(self) -> bool:
        """Return whether every entry is unchanged."""
        return self.bad is None


def verify(entries: Iterable[Entry], *, prev: str = ZEROS) -> Verdict:
    """Check the entries of one stream, in order, beginning after the entry whose hash is `prev`.

    It proves that no entry was changed, removed from the middle, inserted or moved. It cannot see that the last ones
    were cut off, or all written anew: for that, compare `head` with a checkpoint kept elsewhere.
    """
    count, head, expected = 0, prev, 1 if prev == ZEROS else None
    for entry in entries:
        reason = _fault(entry, head, expected)
        if reason is not None:
            return Verdict(count, head, entry.seq, reason)
        count, head, expected = count + 1, entry.hash, entry.seq + 1
    return Verdict(count, head)


def _fault(entry: Entry, prev: str, expected: int | None) -> str | None:
    """Return what is wrong with an entry that should follow `prev`; None if nothing is."""
    if expected is not None and entry.seq != expected:
        return f"entry {expected} should come here, and this is {entry.seq}: something was removed, inserted or moved"
    if entry.prev != prev:
        return "it names another entry as the one before it"
    try:
        computed = entry_hash(entry.seq, entry.type, entry.at, entry.id, entry.payload, bytes.fromhex(prev)).hex()
    except (ValueError, TypeError, RecursionError) as error:
        return f"its hash cannot be computed: {error}"
    return (
        None if computed == entry.hash else "its hash is not that of its content: it was changed after it was written"
    )


def summary(payload: Mapping[str, Any]) -> str:
    """Return an entry in a few words for people: its subject, the person, and the reason."""
    if "unreadable" in payload:
        return str(payload["unreadable"])
    details = payload.get("details")
    values = {**payload, **(details if isinstance(details, dict) else {})}
    keys = ("application", "environment", "gate", "signal", "kind", "decision", "outcome")
    what = " ".join(str(values[key]) for key in keys if values.get(key))
    by = f" by {values['person']}" if values.get("person") else ""
    why = "; ".join(values.get("reasons") or ()) or values.get("comment") or values.get("reason")
    return f"{what}{by}" + (f": {why}" if why else "")
