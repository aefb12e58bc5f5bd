"""Tests on the node of tests/cluster/real, run by `make test-real`."""

from __future__ import annotations

import pytest

from support.cluster import skip_without
from support.node import MISSING


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without the node they say so."""
    skip_without(items, "node", MISSING, "make test-real")
