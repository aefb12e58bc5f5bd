"""The notifier: which destinations hear of a notice, each once, and what is known of each destination."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

import urllib3

from greenlight.events import ids
from greenlight.feedback.configuration import Configuration, Destination
from greenlight.feedback.notify.message import Message
from greenlight.feedback.notify.senders import Undelivered, by_apprise, by_webhook
from greenlight.feedback.pause import Pause
from greenlight.ledger.notifications import failing, note
from greenlight.ledger.port import Ledger
from greenlight.lib.clock import Clock
from greenlight.service.secrets import Secret, Secrets
from greenlight.telemetry import metrics


class Address:
    """One address of a destination: a URL of Apprise's, or a webhook."""

    def __init__(self, destination: Destination, secrets: Sequence[Secret]) -> None:
        """Keep the secrets: those that sign for a webhook, or one with the URL."""
        self.destination, self.secrets = destination, secrets
        self.name = destination.name
        what = destination.webhook or secrets[0].label
        self.key = f"{destination.name}/{ids.derive('address', what)[:8]}"


class Notifier:
    """All destinations. Every method may be called from any thread."""

    def __init__(
        self,
        configuration: Callable[[], Configuration],
        secrets: Secrets,
        ledger: Ledger,
        clock: Clock,
        log: logging.Logger,
    ) -> None:
        """Send to what `configuration` names."""
        self._configuration, self._secrets, self._ledger, self._clock = configuration, secrets, ledger, clock
        self._log = log.getChild("notify")
        self._http = urllib3.PoolManager(maxsize=4)
        self._pauses: dict[str, Pause] = {}

    def is_configured(self) -> bool:
        """Return whether a route leads anywhere."""
        return bool(self._configuration().routes)

    def addresses(self, application: str, environment: str, outcome: str) -> Sequence[Address]:
        """Return the addresses to which routes lead."""
        configuration = self._configuration()
        names = [
            name
            for route in configuration.routes
            if route.takes(application, environment, outcome)
            for name in route.to
        ]
        found = [configuration.destinations[name] for name in dict.fromkeys(names)]
        return [address for destination in found for address in self._of(destination)]

    def tried(self, name: str | None) -> Sequence[Address]:
        """Return the addresses of a destination, or of all; none if there is no such destination or it has no secret."""
        found = self._configuration().destinations
        return [
            address for key, destination in found.items() if name in (None, key) for address in self._of(destination)
        ]

    def names(self) -> Sequence[str]:
        """Return the names of the destinations."""
        return list(self._configuration().destinations)

    def pause(self, address: Address) -> datetime | None:
        """Return until when nothing is sent to an address, after it has failed; None: it may be."""
        return self._pauses.setdefault(address.key, Pause(self._clock)).until()

    def send(self, message: Message, address: Address) -> datetime | None:
        """Send a message; return when to try again if it was not taken, None if it was."""
        pause = self._pauses.setdefault(address.key, Pause(self._clock))
        try:
            self.attempt(message, address)
        except Undelivered as problem:
            metrics.NOTIFICATIONS.labels(address.name, "failed").inc()
            self._log.warning("the destination %s did not take a message: %s", address.name, problem)
            note(self._ledger, address.name, str(problem), self._clock.now())
            return pause.failed()
        return None

    def attempt(self, message: Message, address: Address) -> None:
        """Send a message once. Raises Undelivered."""
        self._attempt(message, address)
        metrics.NOTIFICATIONS.labels(address.name, "sent").inc()
        self._pauses.setdefault(address.key, Pause(self._clock)).over()
        if address.name in failing(self._ledger):
            note(self._ledger, address.name, None, self._clock.now())

    def _attempt(self, message: Message, address: Address) -> None:
        if address.destination.webhook is not None:
            by_webhook(message, address.destination.webhook, address.secrets, self._http)
        else:
            by_apprise(message, address.secrets[0])

    def _of(self, destination: Destination) -> Sequence[Address]:
        secrets = self._secrets.of(f"notify-{destination.name}")
        if not secrets:
            self._log.error("the secrets folder has no file notify-%s, so nothing is sent there", destination.name)
            return []
        if destination.webhook is not None:
            return [Address(destination, secrets)]
        return [Address(destination, [secret]) for secret in secrets]
