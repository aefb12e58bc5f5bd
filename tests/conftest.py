"""What every folder of tests shares: the real cluster, where there is one, and what else a test may be skipped for."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from support.cluster import MISSING, Cluster, skip_without
from support.tools import MISSING as MISSING_TOOLS

# How long an example takes says more about the machine than about the code: no property fails for it.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster, or without uv, pipx and the like, the tests that need them say so."""
    skip_without(items, "cluster", MISSING, ". $(tests/cluster/cluster up)")
    skip_without(items, "tools", MISSING_TOOLS, "make .venv/tools/installed")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of the environment; for tests marked `cluster`."""
    return Cluster.from_environment()
