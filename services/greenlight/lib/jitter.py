"""Waiting before something is tried again."""

from __future__ import annotations

import random
import time


def full_jitter(attempt: int, *, first: float = 0.05, most: float = 1.0) -> None:
    """Sleep for a random time between nothing and `first` * 2^attempt seconds, `most` at the most.

    The whole time is random, so that many who failed together do not come back together
    (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    time.sleep(random.uniform(0, min(most, first * 2**attempt)))  # noqa: S311 - spreads load, keeps no secret
