"""The number of connections that RLIMIT_NOFILE allows."""

from __future__ import annotations

import resource
import sys

OWN_FILES = 256
"""Descriptors that a process keeps from its connections: for its files, its subscribers and what it runs."""


def connections_left() -> int:
    """Count the connections that the process may hold open beside the descriptors that it needs for itself."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(OWN_FILES, limit // 2)
