"""What a handler may raise, and what it means for the delivery of its event.

The one mapping from outcome to HTTP status is in service/edge.py.
"""

from __future__ import annotations

import json

PROBLEM = "application/problem+json"


def problem_json(status: int, title: str, detail: str) -> str:
    """An error as its receiver gets it, everywhere (RFC 9457)."""
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}, ensure_ascii=False)


class Malformed(Exception):
    """This cannot be parsed: 400. The sender made a mistake; the same bytes will never be right."""


class Rejected(Exception):
    """This is understood and can never succeed: 422."""


class Unavailable(Exception):
    """A dependency is down: 503. Trying again helps."""


class ConfigurationError(Exception):
    """Settings or configuration files are wrong. Each line of the message is one thing to mend, with file and line."""


class Unreadable(ConfigurationError):
    """A configuration file cannot be read now, so nobody knows what it says. Another try may find it."""
