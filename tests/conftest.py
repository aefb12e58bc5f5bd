"""What every folder of tests shares: the real cluster, where there is one."""

from __future__ import annotations

import pytest

from support.cluster import MISSING, Cluster, skip_without


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster, the tests that need one say so."""
    skip_without(items, "cluster", MISSING, ". $(tests/cluster/cluster up)")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of the environment; for tests marked `cluster`."""
    return Cluster.from_environment()
