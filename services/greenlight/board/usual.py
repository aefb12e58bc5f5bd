"""The usual lengths of waits and deployments: medians over the last ones."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from greenlight.board import waterfall
from greenlight.board.details import Span
from greenlight.events import moment
from greenlight.ledger.port import Unreadable
from greenlight.model.policy import Policy
from greenlight.model.rows import Deployment, Target
from greenlight.service.deps import Deps

LAST = 50
"""Of a target its last deployments, of an application its last commits that were deployed: the median is over these."""

ENTRIES = 200
"""Of each of them, how many entries are read."""

LASTS = 600.0
"""Seconds for which medians are not computed again: one more commit hardly changes them."""

FEWEST = 3
"""Lengths of which there is a median."""

Medians = Mapping[str, float]
"""By the name of a span, its usual length in milliseconds."""


@dataclass(frozen=True, slots=True)
class _Computed:
    found: Medians
    until: float  # monotonic


class Usual:
    """Compute medians, and keep those of each application for a while. Safe for threads: two that miss at once both read."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._known: dict[str, _Computed] = {}
        self._lock = threading.Lock()

    def of(self, policies: Iterable[Policy]) -> Medians:
        """Return the medians of these applications, by the names of spans: a target is part of the name."""
        return {name: length for policy in policies for name, length in self._of(policy).items()}

    def _of(self, policy: Policy) -> Medians:
        now = self._deps.clock.monotonic()
        with self._lock:
            known = self._known.get(policy.name)
        if known is not None and now < known.until:
            return known.found
        rows = {name: self._deps.ledger.deployments(policy.name, name, limit=LAST) for name in policy.environments}
        deploys = {f"deploy {policy.name}/{name}": _succeeded(deployments) for name, deployments in rows.items()}
        found = medians(self._last(policy, [row for deployments in rows.values() for row in deployments]), deploys)
        with self._lock:
            self._known = {name: computed for name, computed in self._known.items() if now < computed.until}
            self._known[policy.name] = _Computed(found, now + LASTS)
        return found

    def _last(self, policy: Policy, rows: Iterable[Deployment]) -> Iterable[Sequence[Span]]:
        """Yield the spans of the last commits that were deployed to any environment of an application."""
        newest = sorted(rows, key=lambda row: row.started, reverse=True)
        for sha in list(dict.fromkeys(row.sha for row in newest))[:LAST]:
            try:
                yield waterfall.spans(policy.repo, sha, self._deps.ledger.entries(policy.repo, sha, limit=ENTRIES))
            except Unreadable:
                continue


def deployment(target: Target, deps: Deps) -> timedelta | None:
    """Return how long a deployment to the target that succeeds usually takes; None before the first."""
    found = _succeeded(deps.ledger.deployments(target.application, target.environment, limit=LAST))
    return timedelta(milliseconds=median(found)) if found else None


def _succeeded(rows: Iterable[Deployment]) -> list[float]:
    """Return the lengths of the deployments that succeeded, in milliseconds."""
    return [
        (row.ended - row.started).total_seconds() * 1000
        for row in rows
        if row.ended is not None and row.outcome == "succeeded"
    ]


def medians(commits: Iterable[Sequence[Span]], others: Mapping[str, list[float]]) -> Medians:
    """Return the median length of each wait, and of `others`, in milliseconds, by its name."""
    lengths = dict(others)
    for spans in commits:
        for span in spans:
            if span["end"] is not None and span["name"].startswith("wait for "):
                took = (moment(span["end"]) - moment(span["start"])).total_seconds() * 1000
                lengths.setdefault(span["name"], []).append(took)
    return {name: round(median(found), 1) for name, found in lengths.items() if len(found) >= FEWEST}


def compare(spans: Iterable[Span], usual: Medians) -> None:
    """Add `usually_ms` to the waits and deployments whose usual length is known."""
    for span in spans:
        if span["name"] in usual:
            span["attributes"] = {**span["attributes"], "usually_ms": usual[span["name"]]}
