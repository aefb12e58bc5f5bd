"""Signed tokens (JWT) of providers: verified by the provider's published keys (JWKS), and their claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from authlib.oauth2.claims import JWTClaims
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from greenlight.board.login.claims import LONGEST, MOST, Claims, github_login
from greenlight.board.login.provider import LoginFailed
from greenlight.lib.clock import Clock

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by a private key, whatever a provider says of itself: `none` and shared secrets are not among them."""

LEEWAY = 60
"""Seconds that a provider's clock may differ."""

LARGEST = 16 << 10
"""Characters of a token."""


class Keys(Protocol):
    """A provider's keys, as JWKS."""

    def __call__(self, *, missed: bool = False) -> Mapping[str, Any]: ...


def verified(token: str, keys: Keys, wanted: Mapping[str, str], clock: Clock, **proofs: str) -> Mapping[str, Any]:
    """Return the claims of a token. `wanted` has `iss` and `aud`; with `nonce` and others in `proofs` it is an ID token.

    Raises LoginFailed.
    """
    try:
        if len(token) > LARGEST:
            raise ValueError("it is too long")
        found = _decoded(token, keys)
        options = {name: {"essential": True, "value": value} for name, value in wanted.items()}
        options |= {"sub": {"essential": True}, "exp": {"essential": True}}
        kind = CodeIDToken if proofs else JWTClaims
        claims = kind(found.claims, found.header, options, proofs)
        claims.validate(now=int(clock.now().timestamp()), leeway=LEEWAY)
    except (JoseError, ValueError, TypeError, KeyError) as problem:
        raise LoginFailed(f"the token of {wanted['iss']} is not valid ({type(problem).__name__})") from problem
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
        raise LoginFailed(f"the token of {wanted['iss']} names nobody: its `sub` is empty or no text")
    return dict(claims)


def _decoded(token: str, keys: Keys) -> jwt.Token:
    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    try:
        return jwt.decode(token, KeySet.import_key_set(keys()), registry=registry)  # type: ignore[arg-type]
    except InvalidKeyIdError:
        return jwt.decode(token, KeySet.import_key_set(keys(missed=True)), registry=registry)  # type: ignore[arg-type]


def claims_of(found: Mapping[str, Any], by: str, issuer: str, *, groups: str | None, github: str | None) -> Claims:
    """Return what a provider's claims say of a person; `groups` and `github` name the claims with these."""
    email = _text(found.get("email"))
    verified = found.get("email_verified") in (True, "true")
    return Claims(
        by,
        subject=f"{issuer}#{found['sub']}",
        name=_text(found.get("name")) or _text(found.get("preferred_username")) or "",
        github=github_login(_at(found, github)) if github else None,
        emails=(email,) if verified and email is not None and "@" in email else (),
        groups=_texts(_at(found, groups)) if groups else None,
    )


def _at(found: Mapping[str, Any], name: str) -> Any:
    """Return the claim of that name, which may be a path such as `realm_access.roles`."""
    if name in found:
        return found[name]
    at: Any = found
    for part in name.split("."):
        at = at.get(part) if isinstance(at, Mapping) else None
    return at


def _texts(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(text for each in values if (text := _text(each)))[:MOST]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() and len(value) <= LONGEST else None
