"""The port of web logins: to a provider's page, and back with claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from greenlight.lib.errors import Unauthenticated


class LoginFailed(Unauthenticated):
    """A login that proves nothing. The message says what the person can do."""


class Provider(Protocol):
    """A provider of logins. The methods raise LoginFailed, and Unavailable while it does not answer."""

    @property
    def name(self) -> str:
        """Return its name in paths."""
        ...

    @property
    def title(self) -> str:
        """Return its name on the button."""
        ...

    def begin(self, callback: str) -> tuple[str, dict[str, str]]:
        """Return the address of its login page, and what the browser has to bring back with the answer."""
        ...

    def check(self) -> None:
        """Ask it for what a login needs, without one."""
        ...

    def finish(self, callback: str, answer: Mapping[str, str], kept: Mapping[str, str]) -> Any:
        """Return the Claims that an answer to `callback` proves, given what `begin` returned."""
        ...
