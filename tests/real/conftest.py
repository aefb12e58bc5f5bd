"""Tests on the node of tests/cluster/real, run by `make test-real`."""

from __future__ import annotations

import pytest

from support_node import MISSING


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without the node they say so."""
    if MISSING:
        skip = pytest.mark.skip(reason=f"no {' and no '.join(MISSING)}: make test-real sets them")
        for item in items:
            if item.get_closest_marker("node"):
                item.add_marker(skip)
