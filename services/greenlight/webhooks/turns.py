"""The turn of a request: guessed before its signature is checked, and used for nothing but the order of answers."""

from __future__ import annotations

import re

_REPOSITORY = re.compile(rb'"(?:full_name|repo|slug)"\s{0,4}:\s{0,4}"([^"\\]{1,200})"')


def repository_of(body: bytes) -> str:
    """Return the repository that a body seems to be about: what it names first. Empty if it names none."""
    found = _REPOSITORY.search(body)
    return "" if found is None else found[1].decode("utf-8", "replace").lower()
