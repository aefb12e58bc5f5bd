"""Who people are: config/people.yaml, read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.events import ids
from greenlight.runtime.clock import Clock
from greenlight.runtime.documents import Document, DocumentError, load
from greenlight.runtime.errors import ConfigurationError

LOOK_EVERY = 1.0
"""Seconds between two looks at the file."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TOKEN = re.compile(r"sha256:[0-9a-f]{64}")
_LISTS = ("emails", "groups", "tokens")


@dataclass(frozen=True, slots=True)
class Person:
    """One person. `id` is what journals say; the rest stays in the file."""

    id: str
    name: str
    github: str | None
    emails: tuple[str, ...]
    groups: tuple[str, ...]
    tokens: tuple[str, ...]  # sha256:HEX

    @property
    def identities(self) -> tuple[str, ...]:
        """As facts name the person."""
        logins = [ids.identity("github", self.github)] if self.github else []
        return (*logins, *(ids.identity("email", email) for email in self.emails))


class People:
    """The people in force. A wrong edit changes nothing, and the log says why."""

    def __init__(self, path: Path, *, clock: Clock, log: logging.Logger) -> None:
        """Read the file, which need not exist. ConfigurationError names everything that is wrong."""
        self._path, self._clock, self._log = path, clock, log
        self._lock = threading.Lock()
        self._stamp, self._looked = _stamp(path), clock.monotonic()
        self._people = read(path)

    def by_token(self, token: str) -> Person | None:
        """Whose token it is; every digest is compared, in constant time."""
        self._look()
        given = "sha256:" + hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        found = [
            person
            for person in self._people.values()
            if sum(hmac.compare_digest(given, known) for known in person.tokens)
        ]
        return found[0] if found else None

    def all(self) -> Mapping[str, Person]:
        """Everybody, by id."""
        self._look()
        return self._people

    def _look(self) -> None:
        if self._clock.monotonic() - self._looked < LOOK_EVERY and self._stamp == _stamp(self._path):
            return
        with self._lock:
            self._looked = self._clock.monotonic()
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                self._people = read(self._path)
            except ConfigurationError as problem:
                self._log.error("the edited people file is wrong, the one before stays in force:\n%s", problem)


def read(path: Path) -> Mapping[str, Person]:
    """The people of a file, none if it is not there. ConfigurationError names every problem with its line."""
    if not path.exists():
        return {}
    try:
        documents = load(path.read_text(encoding="utf-8"), str(path))
    except (DocumentError, OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(str(problem)) from problem
    problems: list[str] = []
    found: dict[str, Person] = {}
    for document in documents:
        rows = document.value.get("people") if isinstance(document.value, dict) else None
        if not isinstance(rows, dict):
            problems.append(f"{path}:1: must be `people:` and a person per line below it")
            continue
        for id, row in rows.items():
            person = _person(document, path, id, {} if row is None else row, problems)
            if person is not None:
                found[person.id] = person
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found


def new_token(path: Path, id: str) -> str:
    """Give a person a new token: its digest goes into the file, the token is returned this once.

    ConfigurationError if there is no such person. The file's comments and order stay.
    """
    if id not in read(path):
        raise ConfigurationError(f"{path}: nobody is called {id!r} there; add the person first")
    token = f"gl_{secrets.token_urlsafe(32)}"
    digest = "sha256:" + hashlib.sha256(token.encode()).hexdigest()
    text = _with_token(path.read_text(encoding="utf-8"), id, digest)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    if digest not in read(fresh)[id].tokens:
        fresh.unlink()
        raise ConfigurationError(f"{path}: write `tokens: []` below {id!r}, on a line of its own, and try again")
    os.replace(fresh, path)
    return token


def _with_token(text: str, id: str, digest: str) -> str:
    """The file with one more digest, changed nowhere else: in a list in brackets, or as a new `tokens` line."""
    lines = text.splitlines()
    head = re.compile(rf"(\s+)['\"]?{re.escape(id)}['\"]?\s*:(.*)")
    for number, line in enumerate(lines):
        match = head.fullmatch(line)
        if match is None:
            continue
        indent = len(match[1])
        if match[2].strip().startswith("{"):
            lines[number] = _in_brackets(line, digest) or line.rstrip().removesuffix("}") + f", tokens: ['{digest}']}}"
            break
        last = number + 1
        while last < len(lines) and (not lines[last].strip() or len(lines[last]) - len(lines[last].lstrip()) > indent):
            if re.match(r"\s*tokens\s*:\s*\[", lines[last]):
                lines[last] = _in_brackets(lines[last], digest) or lines[last]
                break
            if re.fullmatch(r"\s*tokens\s*:\s*(#.*)?", lines[last]):
                lines.insert(last + 1, f"{' ' * (indent + 4)}- {digest}")
                break
            last += 1
        else:
            lines.insert(number + 1, f"{' ' * (indent + 2)}tokens: ['{digest}']")
        break
    return "\n".join(lines) + "\n"


def _in_brackets(line: str, digest: str) -> str | None:
    match = re.search(r"tokens\s*:\s*\[(.*?)\]", line)
    if match is None:
        return None
    inner = f"{match[1].strip()}, '{digest}'" if match[1].strip() else f"'{digest}'"
    return line[: match.start(1)] + inner + line[match.end(1) :]


def _person(document: Document, path: Path, id: Any, row: Any, problems: list[str]) -> Person | None:
    where = f"{path}:{document.line(['people', id])}: {id}"
    if not isinstance(id, str) or not _ID.fullmatch(id):
        problems.append(f"{where}: an id is lower-case letters, digits, - and _")
        return None
    if not isinstance(row, dict):
        problems.append(f"{where}: must have name, github, emails, groups, tokens")
        return None
    unknown = set(row) - {"name", "github", *_LISTS}
    wrong = [key for key in _LISTS if not _texts(row.get(key, []))]
    wrong += [key for key in ("name", "github") if not isinstance(row.get(key, ""), str)]
    if unknown or wrong:
        problems.append(f"{where}: {', '.join(sorted(map(str, unknown)) + wrong)}: unknown, or not of the right kind")
        return None
    if not all(_TOKEN.fullmatch(token) for token in row.get("tokens", [])):
        problems.append(f"{where}: a token is kept as sha256:HEX; make one with `greenlight people token {id}`")
        return None
    return Person(
        id=id,
        name=row.get("name", id),
        github=row.get("github"),
        emails=tuple(row.get("emails", [])),
        groups=tuple(row.get("groups", [])),
        tokens=tuple(row.get("tokens", [])),
    )


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
