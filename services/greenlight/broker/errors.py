"""Errors with which a Broker refuses an event; Rejected and the store's Unavailable are others."""

from __future__ import annotations

from greenlight.lib.errors import NotFound, Problem


class Overloaded(Problem):
    """Some Trigger is too far behind; trying again later helps. Knative tries a 429 again."""

    status = 429


class UnknownBroker(NotFound):
    """No Broker has that name."""
