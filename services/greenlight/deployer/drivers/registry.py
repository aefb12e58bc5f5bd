"""Every driver, by the name that the pipeline file gives it: each module here that declares one, or package/declaration.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import greenlight.deployer.drivers as package
from greenlight.deployer.drivers.declaration import Declaration
from greenlight.lib.plugins import defined_in


def find() -> Iterator[type[Declaration]]:
    """Yield the drivers of this package, in the order of their modules."""
    return defined_in(package, Declaration, but=__name__)


DRIVERS: Mapping[str, type[Declaration]] = {declared.driver: declared for declared in find()}
"""By name."""
