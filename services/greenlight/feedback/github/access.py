"""GitHub as the configuration in force names it: another file means another client."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from greenlight.feedback.configuration import Configuration
from greenlight.feedback.github import deliveries, heads
from greenlight.feedback.github.client import Client
from greenlight.feedback.github.credentials import Credentials
from greenlight.feedback.github.reports import Commit
from greenlight.feedback.github.results import Webhook, results
from greenlight.feedback.heads import Move
from greenlight.feedback.sent import SentBefore
from greenlight.lib.clock import Clock
from greenlight.service.secrets import Secrets


class GitHubAccess:
    """The GitHub that feedback reports to. Every method may be called from any thread."""

    def __init__(
        self, configuration: Callable[[], Configuration], secrets: Secrets, clock: Clock, log: logging.Logger
    ) -> None:
        """Make a client for what `configuration` returns, whenever that changes."""
        self._configuration, self._secrets, self._clock, self._log = configuration, secrets, clock, log
        self._lock = threading.Lock()  # guards `_made`
        self._known: set[str] = set()
        self._last_problem: dict[str, str] = {}
        self._commits = [threading.Lock() for _ in range(64)]
        self._made: tuple[Configuration, Client, Credentials] | None = None

    def is_configured(self) -> bool:
        """Return whether Greenlight was given a right on GitHub."""
        return self._now()[2].is_configured()

    @property
    def is_app(self) -> bool:
        """Return whether Greenlight is a GitHub App."""
        return self._now()[2].is_app

    def commit(self, repo: str, sha: str, before: SentBefore, now: Callable[[], datetime]) -> Commit:
        """Return a commit on GitHub."""
        configuration, client, credentials = self._now()
        page = configuration.page(repo, sha)
        return Commit(repo, sha, page, client, lambda: credentials.of(repo), before, now, self._log)

    def is_new_problem(self, repo: str, text: str) -> bool:
        """Return whether a problem differs from the last one of its repository, so that the log has no error twice in a row."""
        with self._lock:
            before, self._last_problem[repo] = self._last_problem.get(repo), text
        return before != text

    def is_scarce(self) -> bool:
        """Return whether what is left of the rate limit is for reports."""
        return self._now()[1].is_scarce()

    def is_first_look(self, repo: str) -> bool:
        """Return whether a repository is asked about for the first time."""
        with self._lock:
            new = repo not in self._known
            self._known.add(repo)
        return new

    def redeliver(self, repo: str, *, with_app: bool, now: datetime) -> int:
        """Ask for the webhooks of a repository, and of the App, that did not arrive; return how many.

        Raises GitHubUnavailable, Refused, ConfigurationError.
        """
        _, client, credentials = self._now()
        sources = [deliveries.of_app(credentials.for_app())] if credentials.is_app and with_app else []
        sources += deliveries.of_repository(repo, credentials.of(repo), client)
        return sum(deliveries.redeliver(source, client, now) for source in sources)

    def results(self, repo: str, sha: str, kinds: Sequence[str], now: datetime) -> Iterator[Webhook]:
        """Yield the results of a commit that gates of these kinds wait for.

        Raises GitHubUnavailable, Refused, ConfigurationError.
        """
        _, client, credentials = self._now()
        return results(repo, sha, kinds, client, credentials.of(repo), now)

    def heads(self, repo: str, patterns: Sequence[str]) -> Mapping[str, str]:
        """Return the heads of branches that may match these patterns.

        Raises GitHubUnavailable, Refused, ConfigurationError.
        """
        _, client, credentials = self._now()
        return heads.heads(repo, patterns, client, credentials.of(repo))

    def moves(self, repo: str) -> Mapping[str, Move]:
        """Return the last push to each branch. Raises GitHubUnavailable, Refused, ConfigurationError."""
        _, client, credentials = self._now()
        return heads.moves(repo, client, credentials.of(repo))

    def page(self, repo: str, sha: str) -> str | None:
        """Return the address of a commit's page on the board; None if that has no public URL."""
        return self._configuration().page(repo, sha)

    def exclusively(self, repo: str, sha: str) -> AbstractContextManager[object]:
        """Return a lock: one thread at a time reports of a commit, so that no two make the same check."""
        return self._commits[hash((repo, sha)) % len(self._commits)]

    def forget_token(self, repo: str) -> None:
        """Discard the token of a repository, after it was refused."""
        self._now()[2].refused(repo)

    def _now(self) -> tuple[Configuration, Client, Credentials]:
        configuration = self._configuration()
        with self._lock:
            if self._made is None or self._made[0] != configuration:
                client = Client(configuration.url, self._clock, self._log)
                self._made = configuration, client, Credentials(configuration, client, self._secrets, self._clock)
            return self._made
