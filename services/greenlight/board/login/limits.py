"""A limit on failed logins, by address and in total. In memory, of one process; it forgets the oldest address first."""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass

from greenlight.lib.clock import Clock

BURST, PER_MINUTE = 20, 10.0
"""Failures of one address: so many at once, and then so many a minute."""

TOTAL_BURST, TOTAL_PER_MINUTE = 200, 100.0
"""The same of all addresses together."""

ADDRESSES = 10_000
"""Addresses that are remembered."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float  # monotonic seconds of the last look


class Limits:
    """Count failures. Safe for threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._total = _Bucket(TOTAL_BURST, clock.monotonic())
        self._by_address: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, address: str | None) -> int:
        """Return how many seconds an address has to wait before its next failure is answered; 0: none."""
        with self._lock:
            now = self._clock.monotonic()
            mine = self._by_address.get(_network(address))
            waits = [_wait(self._total, TOTAL_BURST, TOTAL_PER_MINUTE, now)]
            waits += [_wait(mine, BURST, PER_MINUTE, now)] if mine is not None else []
            return max(waits)

    def failed(self, address: str | None) -> None:
        """Count a failure of an address; against all together only while its own limit allows it.

        So one address, which is not answered beyond its limit, locks no other one out.
        """
        with self._lock:
            now, name = self._clock.monotonic(), _network(address)
            mine = self._by_address.setdefault(name, _Bucket(BURST, now))
            self._by_address.move_to_end(name)
            if len(self._by_address) > ADDRESSES:
                self._by_address.popitem(last=False)
            counts = not _wait(mine, BURST, PER_MINUTE, now)
            mine.left = max(0.0, mine.left - 1)
            if counts:
                _fill(self._total, TOTAL_BURST, TOTAL_PER_MINUTE, now)
                self._total.left = max(0.0, self._total.left - 1)


def _wait(bucket: _Bucket, burst: int, per_minute: float, now: float) -> int:
    _fill(bucket, burst, per_minute, now)
    return 0 if bucket.left >= 1 else max(1, math.ceil((1 - bucket.left) * 60 / per_minute))


def _fill(bucket: _Bucket, burst: int, per_minute: float, now: float) -> None:
    bucket.left = min(float(burst), bucket.left + (now - bucket.at) * per_minute / 60)
    bucket.at = now


def _network(address: str | None) -> str:
    """Return what counts as one address: of IPv6 the /64, which one customer has."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if found.version == 6:
        return str(ipaddress.ip_network((found, 64), strict=False).network_address)
    return str(found)
