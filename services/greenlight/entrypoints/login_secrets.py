"""The client secrets of web logins, in the folder of secrets."""

from __future__ import annotations

from collections.abc import Callable

from greenlight.board.login.config import GITHUB, LoginConfig
from greenlight.lib.errors import ConfigurationError
from greenlight.service.secrets import LOGIN, Secrets


def login_secret(config: LoginConfig, secrets: Secrets) -> Callable[[str], str | None]:
    """Return what gives the secret of a web login by its name, as the folder has it now.

    Raises ConfigurationError where one is missing that there has to be.
    """

    def secret(name: str) -> str | None:
        lines = secrets.of(LOGIN.of(name))
        return lines[0].value.decode("utf-8").strip() if lines else None

    if config.github is not None and secret(GITHUB) is None:
        raise ConfigurationError(
            f"GREENLIGHT_GITHUB_CLIENT is set, and the folder of secrets has no file {LOGIN.of(GITHUB)}: "
            "write the OAuth app's client secret there"
        )
    return secret
