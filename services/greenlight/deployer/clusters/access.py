"""A cluster, as the pipeline's `clusters:` names it: what Helm needs to reach it, and a client of its API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from greenlight.deployer.clusters.api import Api


class Access(Protocol):
    """Describe how one cluster of the pipeline's `clusters:` is reached. Safe to use from many threads."""

    def helm(self) -> Mapping[str, str]:
        """Return the variables that Helm needs to reach it. Secrets are in them or in files that they name, not in arguments.

        Raises Unavailable where trying again helps, ConfigurationError where a person has to act.
        """
        ...

    def api(self) -> Api:
        """Return a client of its API server, the same one every time."""
        ...
