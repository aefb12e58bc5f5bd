"""Reports that were sent: kept in a journal of their own, so that nothing is sent twice, also after a crash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from greenlight.events import ids
from greenlight.ledger.port import Ledger, Transaction, whole_stream
from greenlight.model import keys
from greenlight.model.rows import NewEntry

REPORTED = "feedback.reported"
"""The type of the journal's entries."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The last report under one key, such as the check of an application."""

    digest: str  # of what was sent
    state: str
    number: int | None = None  # GitHub's id of the check or deployment


class SentBefore:
    """The reports of one commit that were sent."""

    def __init__(self, ledger: Ledger, repo: str, sha: str) -> None:
        """Read the journal."""
        self._ledger, self._repo, self._stream = ledger, repo, keys.feedback_stream(repo, sha)
        entries = list(whole_stream(ledger, self._stream))
        self.count = len(entries)  # grows with every report
        self._sent = {
            str(entry.payload.get("key")): _sent(entry.payload) for entry in entries if entry.type == REPORTED
        }

    def of(self, key: str) -> Sent | None:
        """Return the last report under a key; None: there was none."""
        return self._sent.get(key)

    def under(self, prefix: str) -> Mapping[str, Sent]:
        """Return the last reports under the keys that begin so, by the rest of the key."""
        return {key.removeprefix(prefix): sent for key, sent in self._sent.items() if key.startswith(prefix)}

    def keep(self, key: str, last: Sent, now: datetime) -> Sent:
        """Write down what was just sent."""
        payload = {"key": key, "digest": last.digest, "state": last.state}
        payload |= {"number": str(last.number)} if last.number is not None else {}
        id = ids.derive(REPORTED, key, self.count)
        entry = NewEntry(self._stream, REPORTED, now, id, payload, self._repo, "")
        self._ledger.transact(Transaction(entries=[entry]))
        self.count += 1
        self._sent[key] = last
        return last


def digest(value: Any) -> str:
    """Return the digest of what is sent, a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def unsent(last: Sent | None, body: Mapping[str, Any], state: str) -> Sent | None:
    """Return what is to be kept once `body` is sent; None if it was sent already."""
    now = Sent(digest(body), state)
    if last is not None and last.digest == now.digest:
        return None
    return replace(now, number=last.number if last is not None else None)


def _sent(payload: Mapping[str, Any]) -> Sent:
    number = payload.get("number")
    return Sent(str(payload["digest"]), str(payload["state"]), int(number) if number is not None else None)
