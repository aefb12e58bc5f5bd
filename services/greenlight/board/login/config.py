"""The settings of login. entrypoints/login_settings.py reads them from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

LOOPBACK, EVERYBODY, NOBODY = "loopback", "everybody", "nobody"
"""Who may read without an account: all that reach a port which listens on loopback only, everybody, nobody."""

OIDC, GITHUB = "oidc", "github"
"""Names of web logins, as in `/login/NAME`; the secret of each is the file `login-NAME`."""


PROXY = "proxy"

SCOPES = "openid profile email"
GITHUB_COM = "https://github.com"

TOKEN = "token"  # noqa: S105 - the name of a way to log in


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """An OpenID Connect provider."""

    issuer: str
    client: str
    scopes: str = SCOPES
    title: str = "OpenID Connect"
    groups: str | None = None  # the claim that names groups
    github: str | None = None  # the claim that has the GitHub login


@dataclass(frozen=True, slots=True)
class GitHubConfig:
    """GitHub, or a GitHub Enterprise Server."""

    client: str
    url: str = GITHUB_COM

    @property
    def api(self) -> str:
        """Return the address of its API."""
        return "https://api.github.com" if self.url == GITHUB_COM else f"{self.url}/api/v3"


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """A reverse proxy that logs people in, and sends who they are in a header that it signs."""

    header: str
    issuer: str
    audience: str
    keys: str  # the address of its JWKS
    groups: str | None = None
    github: str | None = None


@dataclass(frozen=True, slots=True)
class LoginConfig:
    """The settings of login; by default only tokens and sessions made by them on one machine."""

    url: str | None = None  # SCHEME://HOST[:PORT] under which browsers reach the board
    anonymous: str = LOOPBACK
    tokens: bool = False  # whether a token can be typed into the page `/login`: on one machine
    idle: timedelta = timedelta(hours=1)
    lifetime: timedelta = timedelta(hours=12)
    oidc: OidcConfig | None = None
    github: GitHubConfig | None = None
    proxy: ProxyConfig | None = None

    @property
    def secure(self) -> bool:
        """Return whether browsers reach the board over https."""
        return self.url is not None and self.url.startswith("https://")

    def offers(self, way: str) -> bool:
        """Return whether people can still log in this way."""
        ways = {TOKEN: self.tokens, OIDC: self.oidc, GITHUB: self.github}
        return bool(ways.get(way))
