"""Login by GitHub: OAuth 2 without an ID token. Who it is, is asked of GitHub's API."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import requests
from authlib.integrations.requests_client import OAuth2Session

from greenlight.board.login.claims import LONGEST, MOST, Claims, github_login
from greenlight.board.login.config import GITHUB, GitHubConfig
from greenlight.board.login.outside import asking, bounded, document, token_for
from greenlight.board.login.provider import LoginFailed
from greenlight.lib.clock import Clock

SCOPES = "read:user user:email"


class GitHub:
    """GitHub as a provider of logins. Safe for threads."""

    name = GITHUB
    title = "GitHub"

    def __init__(self, config: GitHubConfig, secret: Callable[[], str | None], clock: Clock) -> None:
        self._config, self._secret, self._clock = config, secret, clock

    def begin(self, callback: str) -> tuple[str, dict[str, str]]:
        kept = {name: secrets.token_urlsafe(32) for name in ("state", "verifier")}
        url, _ = self._session(callback).create_authorization_url(
            f"{self._config.url}/login/oauth/authorize", state=kept["state"], code_verifier=kept["verifier"]
        )
        return url, kept

    def finish(self, callback: str, answer: Mapping[str, str], kept: Mapping[str, str]) -> Claims:
        whom, api = self._config.url, self._config.api
        with asking(whom):
            session = self._session(callback)
            token_for(session, f"{whom}/login/oauth/access_token", whom, answer, kept)
            user = document(session, f"{api}/user", whom)
            addresses = self._addresses(session)
        login = github_login(user.get("login")) if isinstance(user, dict) else None
        if login is None or not isinstance(user.get("id"), int):
            raise LoginFailed(f"{whom} does not say who you are")
        name = user.get("name")
        return Claims(
            GITHUB,
            subject=f"{whom}#{user['id']}",
            name=name[:LONGEST] if isinstance(name, str) else "",
            github=login,
            emails=_verified(addresses),
        )

    def _addresses(self, session: OAuth2Session) -> Any:
        """Return the person's addresses; none where a GitHub App has no permission to read them."""
        try:
            return document(session, f"{self._config.api}/user/emails", self._config.url)
        except LoginFailed:
            return []

    def check(self) -> None:
        with asking(self._config.url):
            answer = bounded(requests.Session(), self._clock).get(self._config.api)
            if answer.status_code >= 500:
                answer.raise_for_status()

    def _session(self, callback: str) -> OAuth2Session:
        return bounded(
            OAuth2Session(
                client_id=self._config.client,
                client_secret=self._secret(),
                scope=SCOPES,
                redirect_uri=callback,
                token_endpoint_auth_method="client_secret_post",  # noqa: S106 - a method's name
                code_challenge_method="S256",
            ),
            self._clock,
        )


def _verified(addresses: Any) -> tuple[str, ...]:
    """Return the addresses that GitHub has verified."""
    rows = [row for row in addresses if isinstance(row, dict)] if isinstance(addresses, list) else []
    found = [row.get("email") for row in rows if row.get("verified") is True]
    return tuple(email for email in found if isinstance(email, str) and len(email) <= LONGEST)[:MOST]
