"""A cluster as the pipeline file names it under `clusters:`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenlight.deployer.clusters.access import Access, InCluster, Kubeconfig
from greenlight.deployer.clusters.eks import Eks
from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.errors import ConfigurationError


def access_of(cluster: Mapping[str, Any], directory: Path, clock: Clock | None = None) -> Access:
    """How to reach a cluster of `clusters:`; files are named from the pipeline file's folder. Nothing is asked yet."""
    if "kubeconfig" in cluster:
        return Kubeconfig(directory / os.path.expanduser(cluster["kubeconfig"]), cluster["context"])
    if "eks" in cluster:
        return Eks(cluster["eks"]["name"], cluster["eks"]["region"], cluster["eks"].get("role"), clock or SystemClock())
    if "in-cluster" in cluster:
        return InCluster()
    raise ConfigurationError(f"{', '.join(cluster)} is no kind of cluster that this Greenlight reaches")
