"""Why a Broker does not take an event. Rejected (runtime) and Unavailable (store) come besides."""

from __future__ import annotations


class Overloaded(Exception):
    """Some Trigger is too far behind; come back later."""


class UnknownBroker(Exception):
    """There is no Broker of that name."""
