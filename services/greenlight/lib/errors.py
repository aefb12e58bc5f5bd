"""Errors of a request: each exception has the HTTP status with which every service answers it."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, ClassVar

PROBLEM = "application/problem+json"

_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Names of RFC 9110 (15.5.14, 15.5.21) that `http.HTTPStatus` has only since Python 3.13."""


def phrase(status: int) -> str:
    """Return the standard phrase of a status (RFC 9110, section 15)."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


NO_ROUTE = "no such address"
"""`reason` of a 404 about the address itself, not about what it names."""


def problem_json(status: int, detail: str, **members: Any) -> str:
    """Return an error as JSON (RFC 9457). `detail` says what happened, to what, and what to do next."""
    document = {"type": "about:blank", "title": phrase(status), "status": status, "detail": detail, **members}
    return json.dumps(document, ensure_ascii=False)


class Problem(Exception):
    """A request that did not end well. The message becomes the answer's `detail`, so that it may be shown to the sender."""

    status: ClassVar[int] = 500


class Malformed(Problem):
    """The request cannot be parsed. The sender made a mistake; the same bytes will never be right."""

    status = 400


class Unauthenticated(Problem):
    """The sender is not known, or does not prove its identity."""

    status = 401


class Forbidden(Problem):
    """The sender is known, and may not do this. The message says why."""

    status = 403


class NotFound(Problem):
    """The thing that the request names does not exist. The message says which, and what exists."""

    status = 404


class UnsupportedMedia(Problem):
    """The content type or coding of the body is not accepted here."""

    status = 415


class Rejected(Problem):
    """The request is understood and can never succeed."""

    status = 422


class TooManyRequests(Problem):
    """The sender asked too often; `wait` is how many seconds later another try is answered."""

    status = 429

    def __init__(self, message: str, wait: int) -> None:
        super().__init__(message)
        self.wait = wait


class Unavailable(Problem):
    """A dependency is down: nothing is known to be written, and trying again helps."""

    status = 503


class Misconfigured(Unavailable):
    """A dependency refuses until a person repairs what the message names: trying again alone does not help."""


class ConfigurationError(Exception):
    """Settings or configuration files are wrong. Each line of the message is one thing to mend, with file and line."""


class UnreadableFile(ConfigurationError):
    """A configuration file cannot be read now, so its content is not known. Another try may succeed."""
