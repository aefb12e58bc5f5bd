"""The row of a login in a browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class WebSession:
    """A person's login in a browser, known by the digest of the id in their cookie. The id itself is stored nowhere."""

    digest: str  # SHA-256 of the id, hex
    person: str  # the id of the person
    claims: Mapping[str, Any]  # what the login said of the person: they are looked up by it at each request
    created: datetime
    seen: datetime  # the last use that was written down
    until: datetime  # it has ended then
