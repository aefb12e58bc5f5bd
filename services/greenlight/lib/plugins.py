"""Classes that are found by lying in a folder, so that nothing else has to name them."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from types import ModuleType
from typing import Any


def defined_in(package: ModuleType, base: ABCMeta, *, but: str) -> Iterator[Any]:
    """Yield the classes below `base` that the modules of a package define, in the order of the modules.

    A package within it defines them in its `declaration.py`. `but`: the module that is looking.
    """
    for found in sorted(iter_modules(package.__path__), key=lambda module: module.name):
        name = f"{package.__name__}.{found.name}"
        if name == but:
            continue
        module = import_module(f"{name}.declaration" if found.ispkg else name)
        for value in vars(module).values():
            own = isinstance(value, type) and value.__module__ == module.__name__
            if own and issubclass(value, base) and not isabstract(value):
                yield value
