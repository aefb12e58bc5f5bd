"""Logins in browsers, in the table. `seen` and `until` change without the rest of the row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from greenlight.ledger.dynamodb import items as items
from greenlight.ledger.dynamodb.client import ConditionFailed
from greenlight.ledger.dynamodb.items import from_stamp, item, stamp
from greenlight.ledger.dynamodb.reader import Reader
from greenlight.model.web_sessions import WebSession


class WebSessions:
    """Sessions of one ledger. DynamoDB drops those that have ended (TTL)."""

    def __init__(self, reader: Reader, clock: Callable[[], datetime]) -> None:
        self._reader, self._dynamo, self._clock = reader, reader.dynamo, clock

    def begin(self, session: WebSession) -> None:
        """Store a new session."""
        row = self._reader.rows.pack(session, self._clock())
        self._dynamo.put(item(items.web_session_key(session.digest), **_times(session.seen, session.until), **row))

    def get(self, digest: str) -> WebSession | None:
        """Return the session, or None."""
        found = self._dynamo.get(items.web_session_key(digest))
        if found is None:
            return None

        def decode() -> WebSession:
            row = self._reader.rows.unpack(WebSession, found)
            return replace(row, seen=from_stamp(found["s"]["S"]), until=from_stamp(found["u"]["S"]))

        return self._reader.read("web_sessions", found, decode)

    def see(self, digest: str, seen: datetime, until: datetime) -> None:
        """Write down its last use and its new end, if it is still there."""
        pk, sk = items.web_session_key(digest)
        update = {
            "Key": item((pk, sk)),
            "UpdateExpression": "SET s = :s, u = :u, expires = :e",
            "ConditionExpression": "attribute_exists(pk)",
            "ExpressionAttributeValues": {f":{name[0]}": value for name, value in _times(seen, until).items()},
        }
        try:
            self._dynamo.call("UpdateItem", update)
        except ConditionFailed:
            pass  # it was ended meanwhile

    def end(self, digest: str) -> None:
        """Remove the session."""
        self._dynamo.delete([items.web_session_key(digest)])


def _times(seen: datetime, until: datetime) -> dict[str, Any]:
    """Return the attributes that change; TTL has whole seconds."""
    return {
        "s": {"S": stamp(seen)},
        "u": {"S": stamp(until)},
        "expires": {"N": str(int(until.timestamp()) + 1)},
    }
