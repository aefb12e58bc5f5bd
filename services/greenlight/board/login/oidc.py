"""Login by OpenID Connect: authorization code flow with PKCE, at the one provider that is configured."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.integrations.requests_client import OAuth2Session

from greenlight.board.login import jwts
from greenlight.board.login.claims import Claims
from greenlight.board.login.config import OIDC, OidcConfig
from greenlight.board.login.outside import CachedDocument, asking, bounded, document, token_for
from greenlight.board.login.provider import LoginFailed
from greenlight.lib.clock import Clock

DISCOVERY = "/.well-known/openid-configuration"
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class Oidc:
    """The provider of one issuer. Safe for threads."""

    name = OIDC

    def __init__(self, config: OidcConfig, secret: Callable[[], str | None], clock: Clock) -> None:
        self._config, self._secret, self._clock = config, secret, clock
        self._metadata = CachedDocument(self._discover, clock)
        self._keys = CachedDocument(lambda: self._get(self._metadata()["jwks_uri"]), clock)

    @property
    def title(self) -> str:
        return self._config.title

    def begin(self, callback: str) -> tuple[str, dict[str, str]]:
        with asking(self._config.issuer):
            endpoint = self._metadata()["authorization_endpoint"]
        kept = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        url, _ = self._session(callback).create_authorization_url(
            endpoint, state=kept["state"], nonce=kept["nonce"], code_verifier=kept["verifier"]
        )
        return url, kept

    def finish(self, callback: str, answer: Mapping[str, str], kept: Mapping[str, str]) -> Claims:
        issuer = self._config.issuer
        if answer.get("iss", issuer) != issuer:  # RFC 9207: another provider's answer was mixed in
            raise LoginFailed(f"the answer is not of {issuer}: begin the login again")
        with asking(issuer):
            metadata, session = self._metadata(), self._session(callback)
            token = token_for(session, metadata["token_endpoint"], issuer, answer, kept)
            proofs = {"nonce": kept["nonce"], "client_id": self._config.client, "access_token": token["access_token"]}
            wanted = {"iss": issuer, "aud": self._config.client}
            found = jwts.verified(str(token.get("id_token", "")), self._keys, wanted, self._clock, **proofs)
            found = _together(found, self._userinfo(session, metadata, str(found["sub"])))
        config = self._config
        return jwts.claims_of(found, OIDC, issuer, groups=config.groups, github=config.github)

    def check(self) -> None:
        """Ask for the provider's metadata and keys. Raises LoginFailed, Unavailable."""
        with asking(self._config.issuer):
            self._keys()

    def _userinfo(self, session: OAuth2Session, metadata: Mapping[str, Any], sub: str) -> Mapping[str, Any]:
        """Return what the provider says beside the ID token, which many keep small."""
        if "userinfo_endpoint" not in metadata:
            return {}
        found = document(session, metadata["userinfo_endpoint"], self._config.issuer)
        if not isinstance(found, dict) or found.get("sub") != sub:
            raise LoginFailed(f"{self._config.issuer} speaks of two people in one login: begin the login again")
        return found

    def _session(self, callback: str) -> OAuth2Session:
        secret = self._secret()
        supported = self._metadata().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        method = "client_secret_basic" if "client_secret_basic" in supported else "client_secret_post"
        return bounded(
            OAuth2Session(
                client_id=self._config.client,
                client_secret=secret,
                scope=self._config.scopes,
                redirect_uri=callback,
                token_endpoint_auth_method=method if secret else "none",
                code_challenge_method="S256",
            ),
            self._clock,
        )

    def _discover(self) -> Mapping[str, Any]:
        """Return the provider's metadata, if they are the configured issuer's and name endpoints that may be asked."""
        issuer = self._config.issuer
        found = self._get(issuer.rstrip("/") + DISCOVERY)
        if found.get("issuer") != issuer:
            raise LoginFailed(
                f"{issuer} calls itself {str(found.get('issuer'))[:200]!r}: set GREENLIGHT_OIDC_ISSUER to that"
            )
        for name in (*_ENDPOINTS, *(["userinfo_endpoint"] if "userinfo_endpoint" in found else [])):
            parts = urlsplit(str(found.get(name)))
            if parts.scheme not in ("https", urlsplit(issuer).scheme) or not parts.netloc:
                raise LoginFailed(f"{issuer} has no https address as its {name}")
        return found

    def _get(self, url: str) -> Mapping[str, Any]:
        found = document(bounded(requests.Session(), self._clock), url, self._config.issuer)
        if not isinstance(found, dict):
            raise LoginFailed(f"{url} is no JSON object")
        return found


def _together(token: Mapping[str, Any], userinfo: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the claims of both, the ID token's first. Whether an address is verified says only who names the same one."""
    email = token.get("email") or userinfo.get("email")
    words = [it["email_verified"] for it in (token, userinfo) if it.get("email") == email and "email_verified" in it]
    return {**userinfo, **token, "email": email, "email_verified": next(iter(words), None)}
