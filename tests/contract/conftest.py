"""A release of a test's own on the real API server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster
from support.helm import STAGES, Helm


@pytest.fixture
def helm(cluster: Cluster, tmp_path: Path) -> Iterator[Helm]:
    if shutil.which("helm") is None:
        pytest.skip("needs Helm 4 on the PATH; tests/cluster/cluster build helm builds it")
    cluster.apply(*STAGES)
    with cluster.namespace("helm") as namespace:
        found = Helm(tmp_path, namespace, cluster)
        yield found
        found.driver.close()
