"""Several questions to one server at a time, where the answers to all of them are waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

AT_A_TIME = 8
"""Few enough for a server's limit per client, and for a pool of connections."""


def together(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Return what the calls return, in their order.

    Raises what the first of them that fails raises, once all have ended.
    """
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return [asked.result() for asked in [pool.submit(call) for call in calls]]
