"""Every driver, by the name that the pipeline file gives it: each module here that declares one, or package/declaration.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from types import ModuleType

import greenlight.deployer.drivers as package
from greenlight.deployer.drivers.declaration import Declaration


def find() -> Iterator[type[Declaration]]:
    """Yield the drivers of this package, in the order of their modules."""
    for found in sorted(iter_modules(package.__path__), key=lambda module: module.name):
        name = f"{package.__name__}.{found.name}"
        if name != __name__:
            yield from _declared(import_module(f"{name}.declaration" if found.ispkg else name))


def _declared(module: ModuleType) -> Iterator[type[Declaration]]:
    for value in vars(module).values():
        own = isinstance(value, type) and value.__module__ == module.__name__
        if own and issubclass(value, Declaration) and not isabstract(value):
            yield value


DRIVERS: Mapping[str, type[Declaration]] = {declared.driver: declared for declared in find()}
"""By name."""
