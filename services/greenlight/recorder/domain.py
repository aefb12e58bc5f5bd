"""Rules for folding a fact into its commit's record.

Pure, commutative, idempotent: every slot is a maximum over a total order. Any order and any repetition of the same
facts therefore gives the same record, and an older fact never overrides a newer one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from greenlight.events import types
from greenlight.model import keys
from greenlight.model.merges import Merge
from greenlight.model.rows import Approval, Fact, Last, Order, Override, Push, Record, Revocation, Run, Signal
from greenlight.policy.signals import OUTDATED, REPORTED, age, by_time

T = TypeVar("T")

_COUNTED = 2
"""What a scanner orders its reports by: its run and its time."""

_LARGEST = (1 << 63) - 1


def fold(record: Record | None, fact: Fact) -> Record:
    """Return the record of the fact's commit with the fact in it. No fact changes `version` and `attempts`."""
    record = record or Record(fact.repo, fact.sha)
    approval, key = _approval(fact), _gate(fact)
    return replace(
        record,
        tree=max((tree for tree in (record.tree, fact.tree) if tree), default=None),
        pushes=_newest(record.pushes, _pushes(fact), _by_push),
        signals=_signals(record.signals, fact),
        approvals=_approvals(record.approvals, key, approval),
        revocations=_newest(record.revocations, _revocations(fact, key, approval), _by_time),
        overrides=_newest(record.overrides, _overrides(fact), _by_time),
        artifacts=_artifacts(record.artifacts, fact),
        named=_named(record, fact),
        people=tuple(sorted({*record.people, *fact.people})),
        updated=max(fact.accepted, record.updated or fact.accepted),
        merged=_merged(record.merged, fact),
        runs=_runs(record.runs, fact),
    )


def is_of_a_commit(fact: Fact) -> bool:
    """Return whether the fact shows that there is such a commit.

    The deletion of a tag names what the tag was, which is no commit where the tag has a message.
    """
    return fact.push is None or not fact.push.deleted


def with_review(record: Record, review: Fact, *, last: bool) -> Record:
    """Return the record with a review of another commit of the same pull request or tree.

    Of a commit that was not the `last` one before the merge an objection stands, and an approval is no vote.
    """
    outdated = review.outcome == "passed" and not last
    return replace(record, signals=_signals(record.signals, replace(review, outcome=OUTDATED) if outdated else review))


def _by_time(act: Approval | Revocation | Override) -> tuple[Any, ...]:
    return (act.at, act.fact)


def _by_push(push: Push) -> tuple[Any, ...]:
    """Return the sort key of a push: of one commit's pushes to one ref, the greatest places it among the candidates.

    The newest; but a ref that was created on the commit does not move it, so of those the first, and any other before them.
    """
    moves = push.before is not None
    at, arrived = push.pushed_at.timestamp(), push.arrived.timestamp()
    return (moves, at, arrived, push.fact) if moves else (moves, -at, -arrived, push.fact)


def _newest(slots: Mapping[str, T], new: Mapping[str, T], order: Callable[[T], Any]) -> Mapping[str, T]:
    """Return the slots with the greater of old and new in each."""
    if not new:
        return slots
    return {**slots, **{key: max(slots.get(key, value), value, key=order) for key, value in new.items()}}


def _pushes(fact: Fact) -> Mapping[str, Push]:
    """Return the fact's push by its ref.

    A deletion puts no commit anywhere; only the repository's list of pushes has it.
    """
    push = fact.push
    return {} if push is None or push.sha != fact.sha else {push.ref: push}


def _signals(signals: Mapping[str, Mapping[str, Signal]], fact: Fact) -> Mapping[str, Mapping[str, Signal]]:
    if fact.signal is None or fact.foreign:
        return signals
    data = fact.details.get("data")
    fields = data if isinstance(data, Mapping) else {}
    ahead = "ahead" in fact.details
    failed = fact.accepted if fact.outcome == "failed" and not fact.details.get("repeats") else None
    signal = Signal(
        fact.outcome or "", fact.order, fact.at, fact.id, fact.evidence, fields, fact.accepted, ahead, failed=failed
    )
    for key, order in _orders(fact, fact.signal):
        signals = {**signals, key: _with_signal(signals.get(key, {}), fact.refs, replace(signal, order=order))}
    return signals


def _orders(fact: Fact, signal: str) -> Iterator[tuple[str, Order]]:
    """Yield each signal of a fact, with the fact's order there.

    A scanner's run number is not guaranteed to grow, so its reports are ordered by time as well.
    """
    yield signal, fact.order
    timed = by_time(signal)
    if timed is not None and len(fact.order) == _COUNTED:
        yield timed, _moment(fact)


def _moment(fact: Fact) -> Order:
    """Return the order of a scanner's report: by its time, then by its run; a missing number counts as the worst."""
    run, moment = fact.order
    if fact.details.get("run") is None:
        run = _LARGEST if fact.outcome == "failed" else -_LARGEST
    return (moment, run)


def _with_signal(slots: Mapping[str, Signal], refs: Sequence[str], signal: Signal) -> Mapping[str, Signal]:
    """Return the slots with the signal in the slot of each ref, or in the slot of no ref."""
    return {**slots, **{ref: _newer(slots.get(ref, signal), signal) for ref in refs or ("",)}}


def _newer(one: Signal, other: Signal) -> Signal:
    """Return the greater of two signals, with the later arrival, and the later failure, of both."""
    if one.fact == other.fact:
        return one
    older, newer = sorted((one, other), key=age)
    last = max((last for last in (_last(one), _last(other)) if last is not None), key=_by_arrival, default=None)
    late = last is not None and last.fact != newer.fact
    failed = max((at for at in (one.failed, other.failed) if at is not None), default=None)
    return replace(newer, tied=_tied(older, newer), last=last if late else None, failed=failed)


def _last(signal: Signal) -> Last | None:
    if signal.last is not None or signal.arrived is None:
        return signal.last
    return Last(signal.outcome, signal.at, signal.fact, signal.arrived, signal.evidence, signal.data)


def _by_arrival(last: Last) -> tuple[Any, ...]:
    return (last.arrived, last.fact)


def _tied(older: Signal, newer: Signal) -> tuple[Mapping[str, Any], ...]:
    """Return the data that a gate's `where` has to judge besides `newer`'s, because no order distinguishes the two."""
    if older.order != newer.order or newer.outcome not in ("", REPORTED):
        return newer.tied
    tied = {
        json.dumps(data, sort_keys=True): data for data in (*older.tied, *newer.tied, older.data) if data != newer.data
    }
    return tuple(tied[text] for text in sorted(tied))


def _runs(runs: Mapping[str, Run], fact: Fact) -> Mapping[str, Run]:
    """Return the workflow run of each check suite, with the fact's."""
    run = fact.details.get("suite_of")
    if not isinstance(run, Mapping):
        return runs
    return {**runs, str(run["suite"]): Run(run["workflow"], run["number"], fact.foreign)}


def _merged(merged: Mapping[str, Merge], fact: Fact) -> Mapping[str, Merge]:
    """Return the merged pull requests, with the fact's. Each is merged once; a later report has the same content."""
    if "merged_by" not in fact.details:
        return merged
    new = Merge(fact.details.get("head"), fact.details["merged_by"], next(iter(fact.people), None))
    return _newest(merged, {str(fact.details["pull"]): new}, _by_content)


def _by_content(merge: Merge) -> tuple[str, ...]:
    return (merge.head or "", merge.by or "", merge.author or "")


def _gate(fact: Fact) -> str:
    return keys.of(str(fact.details.get("application")), str(fact.details.get("gate")))


def _approval(fact: Fact) -> Approval | None:
    """Return a person's approval, or its revocation, at a gate; None for any other fact."""
    if fact.type not in (types.APPROVAL_GRANTED, types.APPROVAL_REVOKED):
        return None
    return Approval(
        granted=fact.type == types.APPROVAL_GRANTED,
        person=fact.details["person"],
        groups=tuple(fact.details.get("groups", ())),
        identities=tuple(fact.details.get("identities", ())),
        at=fact.at,
        fact=fact.id,
        comment=fact.details.get("comment"),
    )


def _approvals(
    approvals: Mapping[str, Mapping[str, Approval]], key: str, approval: Approval | None
) -> Mapping[str, Mapping[str, Approval]]:
    if approval is None:
        return approvals
    return {**approvals, key: _newest(approvals.get(key, {}), {approval.person: approval}, _by_time)}


def _revocations(fact: Fact, key: str, approval: Approval | None) -> Mapping[str, Revocation]:
    if approval is None or approval.granted:
        return {}
    return {key: Revocation(approval.person, fact.at, fact.id, approval.comment)}


def _overrides(fact: Fact) -> Mapping[str, Override]:
    if fact.type != types.GATE_OVERRIDDEN:
        return {}
    given = fact.details
    key = keys.of(given["application"], given["environment"], given["gate"])
    identities = tuple(given.get("identities", ()))
    return {key: Override(given["person"], fact.at, fact.id, given["reason"], identities)}


def _artifacts(artifacts: Mapping[str, tuple[str, ...]], fact: Fact) -> Mapping[str, tuple[str, ...]]:
    """Return every digest that was ever named; a fork names none of what is deployed."""
    if fact.foreign or not fact.artifacts:
        return artifacts
    named = {name: tuple(sorted({*artifacts.get(name, ()), digest})) for name, digest in fact.artifacts.items()}
    return {**artifacts, **named}


def _named(record: Record, fact: Fact) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return which signals named each digest for which refs; "" stands for none, and for what older rows do not say."""
    if fact.foreign or not fact.artifacts:
        return record.named
    named, signal = dict(record.named), fact.signal or ""
    for name, digest in fact.artifacts.items():
        key = f"{name}@{digest}"
        unsaid = {} if key in named or digest not in record.artifacts.get(name, ()) else {"": ("",)}
        by_signal = named.get(key, unsaid)
        named[key] = {**by_signal, signal: tuple(sorted({*by_signal.get(signal, ()), *(fact.refs or ("",))}))}
    return named
