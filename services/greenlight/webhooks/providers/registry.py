"""Every provider: each module of this package that defines one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from types import ModuleType

import greenlight.webhooks.providers as package
from greenlight.service.secrets import Files
from greenlight.webhooks.provider import Provider


def find() -> Iterator[Provider]:
    """Yield the providers of this package, in the order of their modules."""
    for found in sorted(iter_modules(package.__path__), key=lambda module: module.name):
        if f"{package.__name__}.{found.name}" != __name__:
            yield from _defined(import_module(f"{package.__name__}.{found.name}"))


def _defined(module: ModuleType) -> Iterator[Provider]:
    for value in vars(module).values():
        own = isinstance(value, type) and value.__module__ == module.__name__
        if own and issubclass(value, Provider) and not isabstract(value):
            yield value()


ROUTES: Mapping[str, Provider] = {provider.route: provider for provider in find()}
"""By path; one that ends in a slash is followed by the name of a gate or a sender."""

FILES: Sequence[Files] = [provider.files for provider in ROUTES.values()]
"""How the files of secrets may be called."""


def may_send(provider: Provider, type: str) -> bool:
    """Return whether that type may come from this provider: no other one alone sends it."""
    return not any(type.startswith(other.types) for other in ROUTES.values() if other is not provider)
