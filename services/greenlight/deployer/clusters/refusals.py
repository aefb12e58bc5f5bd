"""Answers of an API server that are not successful."""

from __future__ import annotations

import json

from greenlight.lib.errors import ConfigurationError, Unavailable


class Refused(Exception):
    """Report that the API server refused a request: `status` is HTTP's, `reason` and `message` are the server's own."""

    def __init__(self, what: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{what}: {message}")
        self.status, self.reason, self.message = status, reason, message


class NotFound(Refused):
    """Report 404: there is no such object, or no such kind."""


class Conflict(Refused):
    """Report 409: the object exists already, or has changed since it was read."""


class Forbidden(Refused):
    """Report 403: a right is missing, and the message names it. Quotas and admission webhooks answer so, too."""


class Gone(Refused):
    """Report 410: the version that was read is too old to continue from; list again."""


_KINDS = {403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone}


def refused(what: str, status: int, reason: str, message: str) -> Refused:
    """Return the kind of Refused that `status` stands for."""
    return _KINDS.get(status, Refused)(what, status, reason, message or f"HTTP {status}")


def failure(what: str, status: int, body: bytes) -> Exception:
    """Return the exception for an answer that is no success: a Status object, or whatever a proxy in front of it wrote."""
    try:
        fields = json.loads(body)
        reason, message = fields.get("reason", ""), fields.get("message", "")
    except (ValueError, AttributeError):
        reason, message = "", body[:200].decode("utf-8", "replace")
    if status == 401:
        return ConfigurationError(
            f"{what}: the API server does not accept the credentials (401); renew or replace them"
        )
    if status == 429 or status >= 500:
        return Unavailable(f"{what}: {status}: {message}")
    return refused(what, status, reason, message)
