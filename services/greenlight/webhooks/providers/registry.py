"""Every provider: each module of this package that defines one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import greenlight.webhooks.providers as package
from greenlight.lib.plugins import defined_in
from greenlight.service.secrets import Files
from greenlight.webhooks.provider import Provider

ROUTES: Mapping[str, Provider] = {
    provider.route: provider for provider in (of() for of in defined_in(package, Provider, but=__name__))
}
"""By path; one that ends in a slash is followed by the name of a gate or a sender."""

FILES: Sequence[Files] = [provider.files for provider in ROUTES.values()]
"""How the files of secrets may be called."""


def may_send(provider: Provider, type: str) -> bool:
    """Return whether that type may come from this provider: no other one alone sends it."""
    return not any(type.startswith(other.types) for other in ROUTES.values() if other is not provider)
