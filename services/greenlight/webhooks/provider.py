"""The interface of a provider: one file that checks a sender's signature, and turns its body into a fact."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar

from greenlight.events import rfc3339, time_of
from greenlight.ledger.bodies import named
from greenlight.lib.errors import Rejected
from greenlight.model.policy import Pipeline
from greenlight.model.rows import Fact
from greenlight.service.secrets import Files, Secret

SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
REPO = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,99})/[a-z0-9._-]{1,100}")
AHEAD = "ahead"
"""The detail of a fact that holds the time which its sender gave, where that was ahead of our clock."""

MAX_EVIDENCE = 4096
"""Bytes of evidence, as JSON, that a fact itself carries; what is larger stays in the body that brought it."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LARGEST = (1 << 63) - 1
WORD = re.compile(r"[a-z0-9_]{1,64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ignored:
    """The webhook is valid and nothing is stored: 202 with the reason."""

    reason: str
    repo: str | None = None  # the repository that it speaks of, as far as it says
    repository: str | None = None  # the provider's own id of that repository
    former: str | None = None  # what that repository was called before


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request that was read whole."""

    headers: Mapping[str, str]  # by lower-case name
    body: bytes
    name: str  # the last part of the route: a gate, a sender
    now: datetime

    @property
    def digest(self) -> str:
        """Return the digest by which a fact names the body."""
        return named(self.body)


@dataclass(frozen=True, slots=True)
class Place:
    """The address that a sender has to use, and what belongs to it."""

    name: str  # the last part of the route, as of a delivery; empty where the route has none
    path: str  # the route with the name
    secret: str  # where it is: a file, or a key of a Secret
    repo: str  # one that the pipeline ships

    @property
    def url(self) -> str:
        """Return the address, once a reverse proxy or a tunnel is before the port."""
        return f"https://YOUR-HOST{self.path}"


class Provider(ABC):
    """A sender of webhooks. Its route is /webhooks/LABEL, followed by a name where there are many files of secrets."""

    label: ClassVar[str]
    files: ClassVar[Files]  # of its secrets
    limit: ClassVar[int] = 1 << 20  # bytes of a body
    only_json: ClassVar[bool] = True  # whether a body of another content type is refused
    types: ClassVar[tuple[str, ...]] = ()  # how the event types begin that no other provider may send

    @property
    def route(self) -> str:
        """Return the path of its webhooks; one that ends in a slash is followed by a name."""
        return f"/webhooks/{self.label}/" if self.files.word else f"/webhooks/{self.label}"

    def sender(self, name: str) -> str:
        """Return the file in the secrets' folder."""
        return self.files.of(name)

    def pointed(self, place: Place) -> str:
        """Return how to point the sender at Greenlight, for the output of `greenlight up` and the page of the setup."""
        return f"Point {self.label} at it: {place.url}, the secret in {place.secret}"

    def trial(self, place: Place, port: str) -> str | None:
        """Return a command that tries it without a tunnel, if there is one. `port`: the URL of the webhooks' port."""
        return None

    @abstractmethod
    def verify(self, delivery: Delivery, secrets: Sequence[Secret]) -> Sequence[Secret]:
        """Return the secrets that signed it. Raises BadSignature (401)."""

    @abstractmethod
    def fact(self, delivery: Delivery, pipeline: Pipeline) -> Fact | Ignored:
        """Return the fact in the body. Raises Malformed (400), UnsupportedMedia (415), Rejected (422)."""


def keyed(secrets: Sequence[Secret]) -> list[tuple[bytes, Secret]]:
    """Return secrets in the form that the checks of lib/signing.py take."""
    return [(secret.value, secret) for secret in secrets]


def need(payload: Any, path: str, kind: type[T]) -> T:
    """Return the value at `a.b.c`, which must exist and have that type. Raises Rejected, naming the path."""
    value = get(payload, path)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Rejected(f"{path} is missing or not {kind.__name__}")
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise Rejected(f"{path} takes more than 64 bits")
    return value


def integer(value: Any) -> int | None:
    """Return a value that is an integer; None for any other."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def word_at(payload: Any, path: str) -> str:
    """Return a word that becomes a part of an event's type. Raises Rejected."""
    value = need(payload, path, str)
    if not WORD.fullmatch(value):
        raise Rejected(f"{path} is no word")
    return value


def get(payload: Any, path: str) -> Any:
    """Return the value at `a.b.c`, or None."""
    for name in path.split("."):
        if not isinstance(payload, dict):
            return None
        payload = payload.get(name)
    return payload


def sha_at(payload: Any, path: str, *, none: bool = False) -> str:
    """Return a commit's sha; with `none` it may be all zeros, which stand for no commit. Raises Rejected."""
    value = need(payload, path, str)
    if not SHA.fullmatch(value) or not (none or value.strip("0")):
        raise Rejected(f"{path} is not a commit's sha: 40 or 64 lower-case hex digits")
    return value


def repo_of(full_name: str) -> str:
    """Return `owner/name` in lower case. Raises Rejected."""
    repo = full_name.lower()
    if not REPO.fullmatch(repo):
        raise Rejected("the repository is not owner/name")
    return repo


def time_at(payload: Any, path: str) -> datetime | None:
    """Return an RFC 3339 time, in UTC; None where there is none. Raises Rejected."""
    value = get(payload, path)
    if value is None or value == "":
        return None
    found = time_of(value) if isinstance(value, str) else None
    if found is None:
        raise Rejected(f"{path} is not a time as RFC 3339 writes it")
    return found


def artifacts_at(payload: Any, path: str) -> dict[str, str]:
    """Return the artifacts of the commit: names to `sha256:` digests. Raises Rejected."""
    value = get(payload, path)
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > 50:
        raise Rejected(f"{path} is not an object of at most 50 names")
    for name, digest in value.items():
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or not re.fullmatch(r"[a-z0-9_-]{1,63}", name):
            raise Rejected(f"{path}: a name is not [a-z0-9_-], or its digest not sha256: and 64 hex digits")
    return dict(value)


def counted(at: datetime | None, now: datetime) -> datetime | None:
    """Return a sender's time as it counts.

    One ahead of the clock is replaced by the time of arrival, cut to the second.
    """
    return now.replace(microsecond=0) if at is not None and at > now else at


def ahead(at: datetime | None, now: datetime) -> dict[str, str]:
    """Return what a fact's details keep of a time that is ahead of the clock."""
    return {AHEAD: rfc3339(at)} if at is not None and at > now else {}


def evidence_of(value: str | dict[str, Any] | None, delivery: Delivery) -> Any:
    """Return evidence as a fact carries it.

    A large one is replaced by the digest of the body that it came in, which is kept.
    """
    size = len(json.dumps(value))
    return value if size <= MAX_EVIDENCE else in_body(delivery, size)


def in_body(delivery: Delivery, size: int) -> dict[str, Any]:
    """Return the reference to `size` bytes of JSON in the body, which are too large to be carried."""
    return {"digest": delivery.digest, "bytes": size}


def micros(at: datetime | None) -> int:
    """Return a time as a number that orders facts; 0 for none."""
    return 0 if at is None else (at - _EPOCH) // timedelta(microseconds=1)


def shown(at: datetime | None) -> str | None:
    """Return a time in the form of events and journals."""
    return None if at is None else rfc3339(at)
