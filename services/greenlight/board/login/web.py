"""A web login under way: what the browser keeps until the provider sends it back, in a cookie of ten minutes.

A request that comes back without that cookie, or with another login's `state`, has not begun this login.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Mapping

from greenlight.board.login.config import GITHUB, OIDC, LoginConfig
from greenlight.board.login.provider import LoginFailed, Provider
from greenlight.lib.clock import Clock

LASTS = 600
"""Seconds that a login may take at the provider."""

Secret = Callable[[str], str | None]
"""Gives the secret of a web login by its name, as the folder of secrets has it now."""


def providers(config: LoginConfig, secret: Secret, clock: Clock) -> Mapping[str, Provider]:
    """Return the providers that are configured, by name. Only they are imported."""
    found: list[Provider] = []
    if config.oidc is not None:
        from greenlight.board.login.oidc import Oidc

        found.append(Oidc(config.oidc, lambda: secret(OIDC), clock))
    if config.github is not None:
        from greenlight.board.login.github import GitHub

        found.append(GitHub(config.github, lambda: secret(GITHUB), clock))
    return {provider.name: provider for provider in found}


def packed(name: str, then: str, kept: Mapping[str, str]) -> str:
    """Return the value of the cookie."""
    return base64.urlsafe_b64encode(json.dumps({"by": name, "then": then, **kept}).encode()).decode()


def unpacked(cookie: str, name: str, answer: Mapping[str, str]) -> Mapping[str, str]:
    """Return what the browser kept of the login that `answer` ends. Raises LoginFailed, also where it was refused there."""
    try:
        kept = json.loads(base64.urlsafe_b64decode(cookie[:4096]))
        state, by = str(kept["state"]), kept["by"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise LoginFailed("this browser has no login under way: it took too long, or is over; begin again") from None
    if by != name or not hmac.compare_digest(answer.get("state", "").encode(), state.encode()):
        raise LoginFailed("this answer is not of the login that this browser began last: begin again")
    if "code" not in answer:
        raise LoginFailed(f"the provider has not logged you in ({_word(answer.get('error'))}): begin again")
    return {str(key): str(value) for key, value in kept.items()}


def _word(text: str | None) -> str:
    """Return an error's code (RFC 6749, 4.1.2.1), and nothing else from the address, which anybody can write."""
    known = text is not None and len(text) <= 40 and text.replace("_", "").isalnum() and text.isascii()
    return str(text) if known else "without a reason"
