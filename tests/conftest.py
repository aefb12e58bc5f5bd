"""What every folder of tests shares: the real cluster, where there is one."""

from __future__ import annotations

import pytest

from support_cluster import MISSING, Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster, the tests that need one say so."""
    if MISSING:
        skip = pytest.mark.skip(reason=f"no {' and no '.join(MISSING)}: . $(tests/cluster/cluster up) sets them")
        for item in items:
            if item.get_closest_marker("cluster"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of the environment; for tests marked `cluster`."""
    return Cluster.from_environment()
