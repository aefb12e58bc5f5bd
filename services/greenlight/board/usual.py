"""The usual lengths of waits and deployments: medians over the last commits that were deployed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from greenlight.board import waterfall
from greenlight.board.details import Span
from greenlight.events import moment
from greenlight.ledger.port import Unreadable
from greenlight.model.policy import Policy
from greenlight.service.deps import Deps

COMMITS = 50
"""Commits of one application over which the median is computed: the last that were deployed."""

ENTRIES = 200
"""Of each of them, how many entries are read."""

LASTS = 600.0
"""Seconds for which medians are not computed again: nobody sees whether one more commit is in them."""

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
        found = medians(self._last(policy))
        with self._lock:
            self._known = {name: it for name, it in self._known.items() if now < it.until}
            self._known[policy.name] = _Computed(found, now + LASTS)
        return found

    def _last(self, policy: Policy) -> Iterable[Sequence[Span]]:
        """Yield the spans of the last commits that were deployed to any environment of an application."""
        ledger = self._deps.ledger
        rows = [row for name in policy.environments for row in ledger.deployments(policy.name, name, limit=COMMITS)]
        rows.sort(key=lambda it: it.started, reverse=True)
        for sha in list(dict.fromkeys(row.sha for row in rows))[:COMMITS]:
            try:
                yield waterfall.spans(policy.repo, sha, ledger.entries(policy.repo, sha, limit=ENTRIES))
            except Unreadable:
                continue


def medians(commits: Iterable[Sequence[Span]]) -> Medians:
    """Return the median length of each wait and of each deployment that succeeded, in milliseconds, by its name."""
    lengths: dict[str, list[float]] = {}
    for spans in commits:
        for span in spans:
            if span["end"] is not None and _counts(span):
                took = (moment(span["end"]) - moment(span["start"])).total_seconds() * 1000
                lengths.setdefault(span["name"], []).append(took)
    return {name: round(median(found), 1) for name, found in lengths.items() if len(found) >= FEWEST}


def compare(spans: Iterable[Span], usual: Medians) -> None:
    """Add `usually_ms` to the waits and deployments whose usual length is known."""
    for span in spans:
        if span["name"] in usual:
            span["attributes"] = {**span["attributes"], "usually_ms": usual[span["name"]]}


def _counts(span: Span) -> bool:
    if span["name"].startswith("wait for "):
        return True
    return bool(span["name"].startswith("deploy ") and span["attributes"].get("outcome") == "succeeded")
