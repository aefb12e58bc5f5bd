"""Tokens for GitHub: of an App, by its private key, or a given token."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenlight.events import moment
from greenlight.feedback.configuration import Configuration
from greenlight.feedback.github.client import Client
from greenlight.feedback.github.errors import Refused
from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError
from greenlight.service.secrets import Secrets

TOKEN, KEY = "github-api", "github-app"
"""The files in the secrets folder: a token, and the private key of the App (PEM)."""

LEFT = timedelta(minutes=5)
"""How long a token of an installation must still be good for; it is good for an hour."""

FORGET = timedelta(minutes=10)
"""After which a repository without the App is asked for again."""


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    until: datetime


class Credentials:
    """The tokens for one GitHub. Every method may be called from any thread."""

    def __init__(self, configuration: Configuration, client: Client, secrets: Secrets, clock: Clock) -> None:
        """Read the token or the key from `secrets` whenever one is needed, so that it may be replaced."""
        self._app, self._client, self._secrets, self._clock = configuration.app, client, secrets, clock
        self._lock = threading.Lock()
        self._installations: dict[str, tuple[int, datetime]] = {}  # by repository; forgotten at that time
        self._absent: dict[str, datetime] = {}  # repositories without the App, asked for again at that time
        self._tokens: dict[int, _Token] = {}  # by installation

    @property
    def is_app(self) -> bool:
        """Return whether Greenlight is an App: only Apps can write checks."""
        return self._app is not None

    def is_configured(self) -> bool:
        """Return whether there is a token or a key."""
        return bool(self._secrets.of(KEY if self.is_app else TOKEN))

    def for_app(self) -> str:
        """Return the App's own token (a JWT), good for some minutes. Raises ConfigurationError for a useless key."""
        from joserfc import jwt  # here, because only an App needs it, and it takes a while to import
        from joserfc.errors import JoseError
        from joserfc.jwk import RSAKey

        now = int(self._clock.now().timestamp())
        claims = {"iat": now - 60, "exp": now + 540, "iss": str(self._app)}
        try:
            key = RSAKey.import_key(self._secret(KEY))
            return jwt.encode({"alg": "RS256"}, claims, key, algorithms=["RS256"])
        except (ValueError, TypeError, JoseError) as problem:
            raise ConfigurationError(
                f"the file {KEY} in the secrets folder holds no RSA private key: download one in the App's settings"
            ) from problem

    def of(self, repo: str) -> str:
        """Return a token for a repository.

        Raises GitHubUnavailable, Refused (404: the App is not installed there), ConfigurationError.
        """
        if not self.is_app:
            return self._secret(TOKEN)
        with self._lock:  # others would ask for the same token
            installation = self._installation(repo)
            known = self._tokens.get(installation)
            if known is None or known.until - LEFT <= self._clock.now():
                known = self._new_token(repo, installation)
            return known.value

    def refused(self, repo: str) -> None:
        """Discard what is known of a repository's token, after it was refused."""
        with self._lock:
            installation, _ = self._installations.pop(repo, (None, None))
            if installation is not None:
                self._tokens.pop(installation, None)

    def _installation(self, repo: str) -> int:
        now = self._clock.now()
        known = self._installations.get(repo)
        if known is not None and known[1] > now:
            return known[0]
        if self._absent.get(repo, now) > now:
            raise self._not_installed(repo)
        try:
            found = int(self._client.get(f"/repos/{repo}/installation", self.for_app()).value["id"])
        except Refused as problem:
            if problem.status != 404:
                raise
            self._absent[repo] = now + FORGET
            raise self._not_installed(repo) from problem
        self._installations[repo] = found, now + FORGET
        return found

    def _not_installed(self, repo: str) -> Refused:
        return Refused(404, f"the GitHub App {self._app} is not installed for {repo}: install it in the App's settings")

    def _new_token(self, repo: str, installation: int) -> _Token:
        found = self._client.post(f"/app/installations/{installation}/access_tokens", self.for_app())
        token = _Token(str(found["token"]), moment(str(found["expires_at"]).upper()))
        self._tokens[installation] = token
        return token

    def _secret(self, file: str) -> str:
        secrets = self._secrets.of(file)
        if not secrets:
            raise ConfigurationError(f"the secrets folder has no file {file}")
        return secrets[0].value.decode("utf-8", "replace").strip()
