"""A reverse proxy that has logged people in: the header that it signs for each request. Other headers prove nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from werkzeug.datastructures import Headers

from greenlight.board.login import jwts
from greenlight.board.login.claims import Claims
from greenlight.board.login.config import PROXY, ProxyConfig
from greenlight.board.login.outside import CachedDocument, asking, bounded, document
from greenlight.board.login.provider import LoginFailed
from greenlight.lib.clock import Clock


class Proxy:
    """The proxy that is configured. Safe for threads."""

    def __init__(self, config: ProxyConfig, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self._keys = CachedDocument(self._fetch, clock)

    def claims(self, headers: Headers) -> Claims | None:
        """Return what the header of a request proves; None without one. Raises LoginFailed, Unavailable."""
        token = headers.get(self._config.header)
        if not token:
            return None
        config = self._config
        wanted = {"iss": config.issuer, "aud": config.audience}
        found = jwts.verified(token.removeprefix("Bearer ").strip(), self._keys, wanted, self._clock)
        return jwts.claims_of(found, PROXY, config.issuer, groups=config.groups, github=config.github)

    def _fetch(self) -> Mapping[str, Any]:
        with asking(self._config.keys):
            found = document(bounded(requests.Session(), self._clock), self._config.keys, self._config.keys)
        if not isinstance(found, dict):
            raise LoginFailed(f"{self._config.keys} is no JSON object")
        return found
