"""A cluster as the pipeline file names it under `clusters:`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenlight.deployer.clusters.access import Access
from greenlight.deployer.clusters.eks import Eks
from greenlight.deployer.clusters.in_cluster import InCluster
from greenlight.deployer.clusters.kubeconfig import Kubeconfig
from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.errors import ConfigurationError


def access_of(cluster: Mapping[str, Any], directory: Path, clock: Clock | None = None) -> Access:
    """Return the access to a cluster of `clusters:`. Files are named from the pipeline file's folder; none is read yet."""
    if "kubeconfig" in cluster:
        file = directory / os.path.expanduser(cluster["kubeconfig"])
        return Kubeconfig(file, cluster["context"], clock=clock)
    if "eks" in cluster:
        return Eks(cluster["eks"]["name"], cluster["eks"]["region"], cluster["eks"].get("role"), clock or SystemClock())
    if "in-cluster" in cluster:
        return InCluster()
    raise ConfigurationError(f"{', '.join(cluster)} is no kind of cluster that Greenlight supports")
