"""The candidates of a target, by their stored decisions: the next one, and those that a push concerns."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from greenlight.model.policy import Policy
from greenlight.model.rows import DecisionRow, Push, Target
from greenlight.policy.lineage import Lineage, newest_tried
from greenlight.policy.refs import shipped
from greenlight.service.candidates import ALL, OPEN, ready_since
from greenlight.service.deps import Deps
from greenlight.service.pushes import pushes_since
from greenlight.service.situations import target_of


def decided_since(push: Push, policy: Policy, environment: str, deps: Deps) -> Iterator[DecisionRow]:
    """Yield the decisions of a target that a push may change although their candidates are newer than the push.

    Where nothing is counted over pushes, that is what was built on a push that fills a gap. Where authors or paths are
    counted, or it matters what was pushed after a request, it is every newer candidate as well. If the push fills a gap,
    it is also those that wait for such a count, however old they seem.
    """
    target = target_of(policy, environment, deps.ledger)
    known = pushes_since(deps.ledger, target).knowing(push)
    if known.newest is not None and known.newest.fact == push.fact:
        return iter(())
    found: dict[str, DecisionRow] = {}
    if _counts_pushes(policy, environment) or target.held or target.requests or push.forced or push.deleted:
        found = _newer(push, policy, environment, known, deps)
    if any(child.arrived < push.arrived for child in known.on_top(push.sha)):
        later = (deps.ledger.decision(policy.name, environment, push.repo, sha) for sha in known.descendants(push.sha))
        filled = [
            *(row for row in later if row is not None and row.decision in OPEN),
            *_recounted(policy, environment, deps),
        ]
        found |= {row.sha: row for row in filled if row.sha != push.sha}
    return iter(found.values())


def _newer(push: Push, policy: Policy, environment: str, known: Lineage, deps: Deps) -> dict[str, DecisionRow]:
    """Return the open decisions about candidates that are newer than the push, by sha."""
    limit = 1
    while True:
        rows = deps.ledger.decisions(policy.name, environment, OPEN, limit=limit)
        last = rows[-1].push if rows else None
        if len(rows) < limit or last is None or last.placed < push.placed:
            break
        limit *= 4
    placed = [(row, row.push) for row in rows if row.push is not None and row.sha != push.sha]
    known = known.knowing(*(other for _, other in placed))
    return {row.sha: row for row, other in placed if known.place(other) > known.place(push)}


def _counts_pushes(policy: Policy, environment: str) -> bool:
    """Return whether a decision counts something over the pushes since what runs: who may vote, which paths are touched."""
    return bool(policy.paths) or policy.leaves_authors_out(environment)


def _recounted(policy: Policy, environment: str, deps: Deps) -> list[DecisionRow]:
    """Return the decisions that wait for what is counted over pushes."""
    if not _counts_pushes(policy, environment):
        return []
    return [
        row
        for row in deps.ledger.decisions(policy.name, environment, ("waiting",), limit=ALL)
        if row.recount and row.repo == policy.repo
    ]


def newest_first(policy: Policy, environment: str, target: Target, deps: Deps) -> Iterator[DecisionRow]:
    """Yield the candidates that may go out by themselves, newest first: those that are newer than what was tried.

    What was tried itself is among them unless it runs: its deployment may have given way to something that is over.
    """
    if policy.environments[environment].promote == "manual":
        return iter(())  # however many wait for a person, none has to be read
    pushes = pushes_since(deps.ledger, target)
    tried = newest_tried(policy, target, pushes)
    runs = tried is not None and target.running is not None and target.running.sha == tried.sha
    if runs and tried is not None and pushes.knowing(tried).is_newest(tried, partial(shipped, policy)):
        return iter(())
    rows = [*ready_since(policy, environment, tried, deps.ledger), *_recounted(policy, environment, deps)]
    known = pushes.knowing(*(row.push for row in rows if row.push is not None), *([tried] if tried else []))
    placed = [(known.place(row.push), row) for row in rows if row.push is not None]
    newest = sorted(placed, key=lambda pair: pair[0], reverse=True)
    if tried is None:
        return (row for _, row in newest)
    last = known.place(tried)
    return (row for place, row in newest if place > last or (place == last and not runs))
