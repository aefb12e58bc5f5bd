"""Reviews of a pull request count for the commit that merged it, and those of a commit for every other with its tree.

Two kinds of streams say what belongs together: `pull/REPO/NUMBER` has the reviews of a pull request and the commit that
merged it, `tree/REPO/TREE` the commits that were pushed with that tree and the reviews of any of them. What is recorded is
entered before the stream is read, so that of two facts that are recorded at once one sees the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from greenlight.ledger.port import Ledger, Transaction
from greenlight.model import keys
from greenlight.model.policy import Policy
from greenlight.model.rows import Entry, Fact, NewEntry, Record
from greenlight.policy.gates.github_review import GithubReview
from greenlight.policy.signals import OUTDATED, is_review
from greenlight.recorder.domain import with_review

MOST = 1000
"""Entries of a stream that are looked at: the first ones."""


def shared(fact: Fact, record: Record, policies: Sequence[Policy], ledger: Ledger) -> tuple[Record, Sequence[Record]]:
    """Return the commit's record with the reviews that count for it, and other records for which they count, too.

    `record` has the fact in it. The streams are written before they are read; a repetition changes nothing.
    """
    pull, tree = _pull_stream(fact), _tree_stream(fact, record, policies)
    entries = [*_of_pull(pull, fact), *_of_tree(tree, fact, record)]
    if not entries:
        return record, ()
    ledger.transact(Transaction(entries=entries))
    found: dict[str, Record] = {record.sha: record}
    before: dict[str, Record] = {}
    for sha, review, last in (*_to_merge(pull, ledger), *_to_same_tree(tree, ledger)):
        if sha not in found:
            before[sha] = found[sha] = ledger.record(record.repo, sha) or Record(record.repo, sha)
        found[sha] = with_review(found[sha], review, last=last)
    return found[record.sha], [found[sha] for sha in before if found[sha] != before[sha]]


def _to_merge(stream: str | None, ledger: Ledger) -> Iterator[tuple[str, Fact, bool]]:
    """Yield each review of a merged pull request, with the merging commit, and whether it is of the last commit.

    A review counts for the branch that the pull request was merged into, too: it may have been for another one first.
    """
    entries = ledger.journal(stream, limit=MOST) if stream is not None else ()
    merge = next((entry.payload for entry in reversed(entries) if "head" in entry.payload), None)
    if merge is not None:
        base = [f"refs/heads/{merge['base']}"] if merge.get("base") else []
        for review in _reviews(entries, ledger):
            counts = replace(review, refs=tuple(dict.fromkeys([*review.refs, *base])))
            yield merge["sha"], counts, review.sha in (merge["head"], merge["sha"])


def _to_same_tree(stream: str | None, ledger: Ledger) -> Iterator[tuple[str, Fact, bool]]:
    """Yield the reviews of a tree, for each commit that was pushed with it."""
    entries = ledger.journal(stream, limit=MOST) if stream is not None else ()
    reviews = list(_reviews(entries, ledger))
    for sha in dict.fromkeys(entry.payload["sha"] for entry in entries if "review" not in entry.payload):
        yield from ((sha, review, True) for review in reviews)


def _reviews(entries: Sequence[Entry], ledger: Ledger) -> Iterator[Fact]:
    found = (ledger.fact(entry.payload["review"]) for entry in entries if "review" in entry.payload)
    yield from (fact for fact in found if fact is not None)


def _pull_stream(fact: Fact) -> str | None:
    pull = fact.details.get("pull")
    return None if pull is None else keys.pull_stream(fact.repo, pull)


def _tree_stream(fact: Fact, record: Record, policies: Sequence[Policy]) -> str | None:
    """Return the stream of a tree, only where some gate counts reviews: others do without its cost."""
    wanted = any(isinstance(gate, GithubReview) for policy in policies for gate in policy.gates.values())
    linked = _pushed(fact) or fact.details.get("pull") is not None
    return keys.tree_stream(record.repo, record.tree) if wanted and linked and record.tree is not None else None


def _of_pull(stream: str | None, fact: Fact) -> Iterator[NewEntry]:
    if stream is not None and fact.signal is not None:
        yield _entry(stream, fact.id, fact, {"review": fact.id})
    elif stream is not None:
        yield _entry(stream, fact.id, fact, {"head": fact.details.get("head") or "", "base": fact.details.get("base")})


def _of_tree(stream: str | None, fact: Fact, record: Record) -> Iterator[NewEntry]:
    if stream is None:
        return
    if _pushed(fact):
        yield _entry(stream, fact.id, fact, {})
    words = [word for key, by_ref in record.signals.items() if is_review(key) for word in by_ref.values()]
    for review in sorted({word.fact for word in words if word.outcome != OUTDATED}):
        yield _entry(stream, review, fact, {"review": review})


def _entry(stream: str, id: str, fact: Fact, more: Mapping[str, Any]) -> NewEntry:
    return NewEntry(stream, fact.type, fact.accepted, id, {"sha": fact.sha, **more}, fact.repo, "")


def _pushed(fact: Fact) -> bool:
    return fact.push is not None and not fact.push.deleted
