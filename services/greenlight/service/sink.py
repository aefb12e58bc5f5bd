"""Publishing over HTTP to a Broker in a cluster."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

from greenlight.events import Event
from greenlight.events.http import to_binary, trace_header
from greenlight.ledger.port import Ledger
from greenlight.lib.errors import Unavailable

TIMEOUT = urllib3.Timeout(connect=1.0, read=5.0)
"""What does not get through is the sweeper's."""

TOKEN = Path("/oidc/token")
"""Where a SinkBinding puts what says who we are, if Knative authenticates senders (its feature authentication-oidc)."""


class Sink:
    """Post events to `$K_SINK`, and remove from the outbox those that arrived. One connection pool for the process."""

    def __init__(
        self, url: str, ledger: Ledger, log: logging.Logger, *, authorities: str | None = None, token: Path = TOKEN
    ) -> None:
        """Keep `authorities`: certificates (PEM) to trust the Broker by, instead of the machine's."""
        parts = urlsplit(url)
        self._path = parts.path or "/"
        trust: dict[str, Any] = {"ssl_context": ssl.create_default_context(cadata=authorities)} if authorities else {}
        self._pool = urllib3.connection_from_url(url, maxsize=8, retries=False, timeout=TIMEOUT, **trust)
        self._ledger, self._log, self._token = ledger, log, token

    def publish(self, events: Sequence[Event]) -> None:
        """Send events; what does not arrive stays in the outbox for the sweeper."""
        self._arrived([event.id for event in events if self._post(event)])

    def settle(self, events: Sequence[Event]) -> Event | None:
        """Return one event as the reply: if it is lost, the delivery that it answers is repeated.

        Several are posted.
        """
        if len(events) == 1:
            self._arrived([events[0].id])
            return events[0]
        self.publish(events)
        return None

    def _post(self, event: Event) -> bool:
        headers, body = to_binary(event)
        headers |= trace_header(event) | self._identity()
        try:
            answer = self._pool.urlopen("POST", self._path, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as problem:
            self._log.warning(
                "event %s was not accepted by the Broker; the sweeper will send it again: %s", event.id, problem
            )
            return False
        if not 200 <= answer.status < 300:
            self._log.warning("event %s was refused by the Broker with %d", event.id, answer.status)
        return 200 <= answer.status < 300

    def _identity(self) -> dict[str, str]:
        """Return the token, read for each request: it is renewed long before it expires. None if there is none."""
        try:
            return {"Authorization": f"Bearer {self._token.read_text(encoding='ascii').strip()}"}
        except OSError:
            return {}

    def _arrived(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        try:
            self._ledger.published(ids)
        except Unavailable as problem:
            self._log.warning("published, but not removed from the outbox; the sweeper will send it again: %s", problem)
