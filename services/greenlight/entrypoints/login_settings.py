"""The settings of login, read from the environment. docs/login.md describes them for operators."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlsplit

from greenlight.board.login.config import (
    EVERYBODY,
    GITHUB_COM,
    LOOPBACK,
    NOBODY,
    SCOPES,
    GitHubConfig,
    LoginConfig,
    OidcConfig,
    ProxyConfig,
)
from greenlight.lib.durations import duration
from greenlight.lib.foreground import is_loopback

URL, ANONYMOUS = "GREENLIGHT_BOARD_URL", "GREENLIGHT_ANONYMOUS_READS"
IDLE, LIFETIME = "GREENLIGHT_SESSION_IDLE", "GREENLIGHT_SESSION_LIFETIME"


def login_config(env: Mapping[str, str], problems: list[str], *, one_machine: bool) -> LoginConfig:
    """Return the settings of login; what is wrong is added to `problems`, a line each.

    `one_machine`: whether this is `greenlight up`, where a personal token opens the board in a browser, too.
    """
    anonymous = env.get(ANONYMOUS) or LOOPBACK
    if anonymous not in (LOOPBACK, EVERYBODY, NOBODY):
        problems.append(f"{ANONYMOUS} is {anonymous!r}; it must be {LOOPBACK}, {EVERYBODY} or {NOBODY}")
    return LoginConfig(
        url=_origin(URL, env.get(URL), problems),
        anonymous=anonymous,
        tokens=one_machine,
        idle=_length(IDLE, env.get(IDLE), "1h", problems),
        lifetime=_length(LIFETIME, env.get(LIFETIME), "12h", problems),
        oidc=_oidc(env, problems),
        github=_github(env, problems),
        proxy=_proxy(env, problems),
    )


def _oidc(env: Mapping[str, str], problems: list[str]) -> OidcConfig | None:
    issuer, client = env.get("GREENLIGHT_OIDC_ISSUER"), env.get("GREENLIGHT_OIDC_CLIENT")
    if not issuer and not client:
        return None
    if not issuer or not client:
        problems.append("GREENLIGHT_OIDC_ISSUER and GREENLIGHT_OIDC_CLIENT go together, and one of them is not set")
        return None
    _address("GREENLIGHT_OIDC_ISSUER", issuer, problems)
    scopes = env.get("GREENLIGHT_OIDC_SCOPES") or SCOPES
    if "openid" not in scopes.split():
        problems.append(f"GREENLIGHT_OIDC_SCOPES is {scopes!r}; `openid` must be one of them")
    return OidcConfig(
        issuer,
        client,
        scopes,
        env.get("GREENLIGHT_OIDC_TITLE") or urlsplit(issuer).hostname or issuer,
        env.get("GREENLIGHT_OIDC_GROUPS") or None,
        env.get("GREENLIGHT_OIDC_GITHUB") or None,
    )


def _github(env: Mapping[str, str], problems: list[str]) -> GitHubConfig | None:
    client = env.get("GREENLIGHT_GITHUB_CLIENT")
    if not client:
        return None
    url = (env.get("GREENLIGHT_GITHUB_URL") or GITHUB_COM).rstrip("/")
    _address("GREENLIGHT_GITHUB_URL", url, problems)
    return GitHubConfig(client, url)


def _proxy(env: Mapping[str, str], problems: list[str]) -> ProxyConfig | None:
    names = [f"GREENLIGHT_PROXY_{name}" for name in ("HEADER", "ISSUER", "AUDIENCE", "KEYS")]
    header, issuer, audience, keys = (env.get(name) or "" for name in names)
    if not any((header, issuer, audience, keys)):
        return None
    if missing := [name for name in names if not env.get(name)]:
        problems.append(f"{', '.join(names)} go together; not set: {', '.join(missing)}")
    if header and (not re.fullmatch(r"[A-Za-z0-9-]{1,100}", header) or header.lower() in ("authorization", "cookie")):
        problems.append(f"GREENLIGHT_PROXY_HEADER is {header!r}; it must be a header that the proxy alone sets")
    if keys:
        _address("GREENLIGHT_PROXY_KEYS", keys, problems)
    groups, github = env.get("GREENLIGHT_PROXY_GROUPS"), env.get("GREENLIGHT_PROXY_GITHUB")
    return ProxyConfig(header, issuer, audience, keys, groups or None, github or None)


def _address(name: str, text: str, problems: list[str]) -> None:
    """Add a problem for an address that is not asked: over the network only by https."""
    parts = urlsplit(text)
    local = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if (
        not parts.hostname
        or (parts.scheme != "https" and not local)
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        problems.append(f"{name} is {text!r}; it must be an https address (http on loopback only)")


def _origin(name: str, text: str | None, problems: list[str]) -> str | None:
    """Return SCHEME://HOST[:PORT] in lower case."""
    if not text:
        return None
    found = re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+/?", text)
    parts = urlsplit(text) if found else None
    if parts is None or (parts.scheme != "https" and not is_loopback(parts.hostname or "")):
        problems.append(
            f"{name} is {text!r}; it must be https://HOST, as browsers see the board (http on loopback only)"
        )
        return None
    return text.rstrip("/").lower()


def _length(name: str, text: str | None, default: str, problems: list[str]) -> timedelta:
    try:
        length = duration(text or default)
    except (ValueError, OverflowError):
        length = timedelta(0)
    if not timedelta(minutes=1) <= length <= timedelta(days=90):
        problems.append(f"{name} is {text!r}; it must be a duration such as 30m or 12h, from 1m to 90d")
        return duration(default)
    return length
