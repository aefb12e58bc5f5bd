"""The people in config/people.yaml, read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.events import ids
from greenlight.lib.clock import Clock
from greenlight.lib.documents import Document, DocumentError, load, text_of
from greenlight.lib.errors import ConfigurationError, UnreadableFile
from greenlight.lib.watched import Messages, Watched, stamp_of
from greenlight.model import keys
from greenlight.model.rows import POLICY

ADD = "Write the person there, such as `people: {lena: {github: lena-gh, groups: [legal]}}`, and try again"

NAME_THEM = "add `github` or `emails`"
"""What to do about a person of whom neither is known."""

_ID = re.compile(keys.NAME)
_TOKEN = re.compile(r"sha256:[0-9a-f]{64}")
_WORDS = ("name", "github", "subject")
_LISTS = ("emails", "groups", "tokens")


@dataclass(frozen=True, slots=True)
class Person:
    """One person. Journals have only `id`; the rest stays in the file."""

    id: str
    name: str
    github: str | None
    emails: tuple[str, ...]
    groups: tuple[str, ...]
    tokens: tuple[str, ...]  # sha256:HEX
    subject: str | None = None  # ISSUER#SUB: whom a web login names so
    more: tuple[str, ...] = ()  # identities that a web login has proved beside those of the file

    @property
    def identities(self) -> tuple[str, ...]:
        """Return the person's identities in facts. None: the person cannot be recognized as an author."""
        return tuple(dict.fromkeys([*identities(self.github, self.emails), *self.more]))


def identities(github: str | None, emails: Iterable[str]) -> Sequence[str]:
    """Return the identities of a GitHub login and addresses."""
    logins = [ids.identity("github", github)] if github else []
    return [*logins, *(ids.identity("email", email) for email in emails)]


def without_identity(people: Iterable[Person]) -> Sequence[str]:
    """Return the ids of people without a GitHub login and address, who cannot be recognized as authors."""
    return [person.id for person in people if not person.identities]


def digest_of(token: str) -> str:
    """Return the digest of a token, as the file keeps it."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class People:
    """The people in force. A wrong edit changes nothing, and the log says why."""

    def __init__(self, path: Path, *, clock: Clock, log: logging.Logger) -> None:
        """Read the file, which need not exist. Raises ConfigurationError, which names everything that is wrong."""
        self._path, self._log = path, log
        # Looked at for every request, which costs one stat: a token that was taken away is not good for a second more.
        self._files = Watched(
            Messages.about("people"), lambda: stamp_of([path]), lambda: read(path), clock, log, every=0.0
        )
        self._files.on_change(self._changed)
        self._warn(self._files())

    def by_token(self, token: str) -> Person | None:
        """Return the person with that token; every digest is compared, in constant time."""
        return self.by_digest(digest_of(token))

    def by_digest(self, given: str) -> Person | None:
        """Return the person with the token of that digest."""
        found = [
            person
            for person in self._files().values()
            if sum(hmac.compare_digest(given, known) for known in person.tokens)
        ]
        return found[0] if found else None

    def known_as(self, subject: str, identities: Container[str]) -> Sequence[Person]:
        """Return the persons with that subject or one of these identities; more than one is a mistake in the file."""
        return [
            person
            for person in self._files().values()
            if (subject and person.subject == subject) or any(each in identities for each in person.identities)
        ]

    def all(self) -> Mapping[str, Person]:
        """Return everybody, by id."""
        return self._files()

    def _changed(self, people: Mapping[str, Person]) -> None:
        if not people:
            self._log.warning("%s: is not there or names nobody, so nobody may approve or act", self._path)
        self._warn(people)

    def _warn(self, people: Mapping[str, Person]) -> None:
        for id in without_identity(people.values()):
            self._log.warning(
                "%s: %s has neither `github` nor `emails`, so nobody can tell whether they are an author: "
                "their approval counts at no gate with `not: author`; %s",
                self._path,
                id,
                NAME_THEM,
            )


def read(path: Path) -> Mapping[str, Person]:
    """Return the people of a file, none if it is not there. ConfigurationError names every problem with its line."""
    try:
        return _parse(_text(path), path)
    except FileNotFoundError:
        if path.parent.is_dir():
            return {}
        raise UnreadableFile(f"{path.parent}: is not there") from None


def _text(path: Path) -> str:
    """Return the text of the file. Raises FileNotFoundError, UnreadableFile, ConfigurationError."""
    try:
        return text_of(path)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise UnreadableFile(f"{path}: cannot be read: {problem.strerror}") from problem
    except DocumentError as problem:
        raise ConfigurationError(str(problem)) from problem


def _parse(text: str, path: Path) -> Mapping[str, Person]:
    try:
        documents = load(text, str(path))
    except DocumentError as problem:
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
        problems += _twice(document, path, found)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found


def _twice(document: Document, path: Path, people: Mapping[str, Person]) -> Iterator[str]:
    """Yield an error for a login, an address or a token in two entries, which would give one person two votes."""
    first: dict[str, str] = {}
    for id, person in people.items():
        shown = {ids.identity("email", email): f"the address {email}" for email in person.emails}
        shown |= {ids.identity("github", person.github): f"the GitHub login {person.github}"} if person.github else {}
        shown |= {person.subject: f"the subject {person.subject}"} if person.subject else {}
        shown |= dict.fromkeys(person.tokens, "a token")
        for key, what in shown.items():
            other = first.setdefault(key, id)
            if other != id:
                line = document.line(["people", id])
                yield f"{path}:{line}: {id}: has {what}, which {other} has too: one person is one entry, and one vote"


def _person(document: Document, path: Path, id: Any, row: Any, problems: list[str]) -> Person | None:
    where = f"{path}:{document.line(['people', id])}: {id}"
    if not isinstance(id, str) or not _ID.fullmatch(id):
        problems.append(f"{where}: an id is lower-case letters, digits, - and _")
        return None
    if id == POLICY:
        problems.append(f"{where}: rollbacks that the pipeline file makes have this id: give the person another one")
        return None
    if not isinstance(row, dict):
        problems.append(f"{where}: must have name, github, emails, subject, groups, tokens")
        return None
    wrong = [
        f"unknown field {key!r}; there are {', '.join((*_WORDS, *_LISTS))}"
        for key in row
        if key not in (*_WORDS, *_LISTS)
    ]
    wrong += [f"{key} must be a list of texts, such as [legal]" for key in _LISTS if not _texts(row.get(key, []))]
    wrong += [f"{key} must be text" for key in _WORDS if not isinstance(row.get(key, ""), str)]
    wrong += [
        f"{key} is empty: leave it out, or fill it in"
        for key in ("github", "emails", "subject")
        if _blank(row.get(key))
    ]
    if wrong:
        problems.extend(f"{where}: {each}" for each in wrong)
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
        subject=row.get("subject"),
    )


def _blank(value: Any) -> bool:
    """Return whether a text, or one of a list, is nothing but white space."""
    return any(isinstance(each, str) and not each.strip() for each in (value if isinstance(value, list) else [value]))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
