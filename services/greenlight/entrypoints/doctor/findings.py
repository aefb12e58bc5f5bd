"""Findings of `greenlight doctor`, and the exit code that they give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from greenlight.deployer.clusters.refusals import Forbidden, Refused
from greenlight.lib.errors import ConfigurationError, Unavailable

OK, WRONG, UNKNOWN = "ok", "wrong", "unknown"

SKEW = timedelta(seconds=5)
"""What clocks may differ by: leases, which last for 30 s and more, and signatures, good for minutes, count on it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding: the thing that was checked, its state, and what to do where it is wrong."""

    what: str
    state: str  # ok, wrong, unknown
    said: str
    todo: str = ""


def verdict(findings: Iterable[Finding]) -> int:
    """Return the exit code: 0 all is well, 1 something is wrong, 3 the state is not known."""
    states = {finding.state for finding in findings}
    return 1 if WRONG in states else 3 if UNKNOWN in states else 0


def checked(what: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield the findings of `check`; where it fails, one with the reason."""
    try:
        yield from check()
    except Forbidden as problem:
        yield Finding(what, UNKNOWN, str(problem), "look with an account that may read this")
    except (Unavailable, Refused) as problem:
        yield Finding(what, UNKNOWN, str(problem), "look again once it answers")
    except ConfigurationError as problem:
        yield Finding(what, WRONG, str(problem))
