"""Errors of a request to GitHub."""

from __future__ import annotations

from datetime import datetime

UNEXPECTED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""Errors from an answer of GitHub's that is shaped in another way than it is described."""


class GitHubUnavailable(Exception):
    """Report that GitHub cannot be asked now: it is down, or the rate limit is reached. Trying again helps."""

    def __init__(self, why: str, again: datetime) -> None:
        """Keep `again`: the time before which a further request is not made."""
        super().__init__(why)
        self.again = again


class Refused(Exception):
    """Report that GitHub refuses this request, and will until a person changes something."""

    def __init__(self, status: int, why: str) -> None:
        """Keep the HTTP status."""
        super().__init__(why)
        self.status = status
