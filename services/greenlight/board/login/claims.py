"""Claims: what a login has proved of a person, and the person that this leads to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from greenlight.board.login.config import TOKEN
from greenlight.lib.errors import Forbidden
from greenlight.service.people import People, Person, identities

LONGEST = 200
"""Characters of a name, an address or a group."""
MOST = 200
"""Groups and addresses of one person."""

_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,99})")


@dataclass(frozen=True, slots=True)
class Claims:
    """Proved claims of one login. Addresses are verified ones."""

    by: str  # token, or the name of a web login
    token: str = ""  # the digest of the token
    subject: str = ""  # ISSUER#SUB
    name: str = ""
    github: str | None = None
    emails: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None  # None: the provider names no groups

    def row(self) -> dict[str, Any]:
        """Return the claims as a session stores them."""
        lists = {"emails": list(self.emails), "groups": None if self.groups is None else list(self.groups)}
        words = {"token": self.token, "subject": self.subject, "name": self.name, "github": self.github}
        return {"by": self.by} | {name: value for name, value in {**words, **lists}.items() if value}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Claims:
        """Return the claims of a session."""
        groups = row.get("groups")
        return cls(
            by=row["by"],
            token=row.get("token", ""),
            subject=row.get("subject", ""),
            name=row.get("name", ""),
            github=row.get("github"),
            emails=tuple(row.get("emails", ())),
            groups=None if groups is None else tuple(groups),
        )


def github_login(value: object) -> str | None:
    """Return a GitHub login; None for what is none."""
    return value if isinstance(value, str) and _LOGIN.fullmatch(value) else None


def person_of(claims: Claims, people: People) -> Person:
    """Return the person that a login leads to: one of people.yaml, else one made of the claims if they name groups.

    Raises Forbidden, with what an operator has to add.
    """
    if claims.by == TOKEN:
        return _by_token(claims, people)
    proved = identities(claims.github, claims.emails)
    found = people.known_as(claims.subject, frozenset(proved))
    if len(found) > 1:
        names = ", ".join(person.id for person in found)
        raise Forbidden(f"this login is that of {names} in people.yaml: one person is one entry, so join them")
    if found:
        (person,) = found
        groups = tuple(dict.fromkeys([*person.groups, *(claims.groups or ())]))
        return replace(person, groups=groups, more=tuple(proved))
    if not claims.groups:
        raise Forbidden(f"nobody in people.yaml is {described(claims)}: add one of these to an entry, and log in again")
    return Person(
        id=f"{claims.by}-{sha256(claims.subject.encode()).hexdigest()[:16]}",
        name=claims.name or claims.github or next(iter(claims.emails), claims.by),
        github=claims.github,
        emails=claims.emails,
        groups=claims.groups,
        tokens=(),
        subject=claims.subject,
    )


def described(claims: Claims) -> str:
    """Return by what a login can be found in people.yaml."""
    known = [f"`github: {claims.github}`"] if claims.github else []
    known += [f"`emails: [{email}]`" for email in claims.emails[:1]]
    return " or ".join([*known, f"`subject: {claims.subject}`"])


def _by_token(claims: Claims, people: People) -> Person:
    person = people.by_digest(claims.token)
    if person is None:
        raise Forbidden("the token of this login belongs to no person any more")
    return person
