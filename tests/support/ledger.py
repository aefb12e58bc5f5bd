"""Sample rows for tests of the ledger, and a hypothesis strategy for every kind of row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from greenlight.events import Event
from greenlight.model.rows import DecisionRow, Deployment, Due, Fact, NewEntry, Push, Record, Target

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
REPO = "acme/shop"


def at(seconds: float) -> datetime:
    """Return a time `seconds` after START."""
    return START + timedelta(seconds=seconds)


def sha(n: int) -> str:
    """Return the sha of the n-th commit: forty hex digits."""
    return f"{n:040x}"


class HandClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        """Return the time that it shows."""
        return self.time


def an_event(id: str = "e1", type: str = "com.github.push", **more: Any) -> Event:
    """Make an event with JSON data."""
    return Event.of(
        type, id=id, source=f"https://github.com/{REPO}", time=START, data={"repo": REPO, "sha": sha(1)}, **more
    )


def a_fact(id: str = "f1", n: int = 1, **more: Any) -> Fact:
    """Make a fact about the n-th commit."""
    return Fact(event=an_event(id), repo=REPO, sha=sha(n), at=START, accepted=START, **more)


def a_due(key: str = "k1", seconds: float = 60, event: str = "e1", attempts: int = 0) -> Due:
    """Make something that is due `seconds` after START."""
    return Due(key, at(seconds), an_event(event), attempts)


def a_push(
    fact: str = "f1", n: int = 1, *, pushed: float = 0, arrived: float = 0, ref: str = "refs/heads/main"
) -> Push:
    """Make a push of the n-th commit."""
    return Push(REPO, ref, sha(n), None, at(pushed), at(arrived), fact)


def a_record(n: int = 1, *, version: int = 0, updated: float | None = 0, repo: str = REPO, **more: Any) -> Record:
    """Make the record of the n-th commit."""
    return Record(repo, sha(n), version=version, updated=None if updated is None else at(updated), **more)


def a_target(environment: str = "staging", **more: Any) -> Target:
    """Make the shop's target in an environment."""
    return Target("shop", environment, REPO, **more)


def a_deployment(id: str = "d1", started: float = 0, environment: str = "staging", **more: Any) -> Deployment:
    """Make a running deployment of the first commit."""
    rest = {"n": 0, "cause": "automatic", "policy": "sha256:00", "fence": 1, "outcome": "running", **more}
    return Deployment(id, "shop", environment, REPO, sha(1), started=at(started), **rest)


def a_decision(
    n: int = 1, state: str = "waiting", *, application: str = "shop", environment: str = "staging", **more: Any
) -> DecisionRow:
    """Make the last decision for the n-th commit."""
    return DecisionRow(application, environment, REPO, sha(n), state, (), START, "sha256:00", **more)


def an_entry(
    id: str = "f1", stream: str = f"commit/{REPO}/{sha(1)}", *, when: float = 0, n: int = 1, **payload: Any
) -> NewEntry:
    """Make an entry to append to a stream."""
    return NewEntry(stream, "com.github.push", at(when), id, payload, REPO, sha(n))


TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(0, 2**31),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    Any: JSON,
    datetime: st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    NoneType: st.none(),
}


def rows(kind: type, **fixed: Any) -> st.SearchStrategy[Any]:
    """Return rows of a kind with every field filled, `fixed` fields given."""
    hints = get_type_hints(kind)
    free = {field.name: _values(hints[field.name]) for field in fields(kind) if field.name not in fixed}
    return st.builds(kind, **free, **{name: st.just(value) for name, value in fixed.items()})


def _values(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if is_dataclass(hint):
        return rows(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return st.one_of(*(_values(argument) for argument in arguments))
    if origin is tuple:
        return st.lists(_values(arguments[0]), max_size=3).map(tuple)
    assert issubclass(origin, Mapping), hint
    return st.dictionaries(TEXT, _values(arguments[1]), max_size=2)
