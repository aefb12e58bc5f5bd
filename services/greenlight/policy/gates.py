"""The state of a gate, computed from the record of a commit. Only success passes, only failure fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from greenlight.events.ids import identity
from greenlight.lib.durations import span
from greenlight.model.policy import Gate, GateState, Policy, Situation
from greenlight.model.rows import Approval, Record, Revocation, Signal
from greenlight.policy.authors import Authors, authors
from greenlight.policy.lineage import counts, shipped
from greenlight.policy.signals import OUTDATED, SAID, age, heard, origin, reviewer, standing

CI = ("circleci", "github-check", "github-status", "github-workflow")
"""What runs for a ref: a fact of these that does not tell its ref never counts. The others need not tell one."""

_WORSE = ("passed", "expired", "pending", "failed")
"""What each source says, from good to bad."""

_NAMED = 3
"""Sources that a reason names."""

_NEVER = datetime.min.replace(tzinfo=UTC)


Made = Callable[[], Authors]
"""Finds the authors of the commit: asked only where there is a vote to judge."""


def gate_state(gate: Gate, case: Situation) -> GateState:
    """What the record says of a gate in a situation; overrides are left aside."""
    policy, record, now = case.policy, case.record, case.now
    revoked = newest_revocation(policy, record, gate.name)

    def made() -> Authors:
        return authors(record, case.target, case.pushes)

    if gate.kind == "approval":
        return _approval(policy, gate, record, made, revoked, now)
    if gate.kind == "github-review":
        return _review(policy, gate, record, made, revoked, now)
    return _signal(policy, gate, record, revoked, now)


def subject(gate: Gate) -> str:
    """What a gate listens to, in words."""
    wants = gate.wants
    match gate.kind:
        case "circleci":
            kind = "workflow" if "workflow" in wants else "job"
            return f"CircleCI {kind} {wants[kind]}" + (f" of project {wants['project']}" if "project" in wants else "")
        case "github-check":
            return f"check {wants['name']}" + (f" of {wants['app']}" if "app" in wants else "")
        case "github-status":
            return f"commit status {wants['context']}"
        case "github-workflow":
            started = f" started by {wants['event']}" if "event" in wants else ""
            return f"GitHub workflow {wants.get('name') or wants['path']}{started}"
        case "webhook":
            return f"webhook {wants['name']}"
        case "event":
            return f"event {wants['type']}" + (f" from {wants['sender']}" if "sender" in wants else "")
        case "approval":
            return f"approval from {' or '.join(wants['groups'])}" + _not_author(gate)
    return "GitHub review" + _not_author(gate)


def _signal(policy: Policy, gate: Gate, record: Record, revoked: Revocation | None, now: datetime) -> GateState:
    by_key = heard(gate, record.signals)
    newest = {key: word for key, refs in by_key.items() if (word := _newest(policy, gate, record, refs)) is not None}
    words = standing(newest, record.runs)
    several = len(words) > 1
    if revoked is not None and (not words or any(word.at <= revoked.at for word in words.values())):
        return _revoked(revoked, f"a later run in each of its {len(words)} sources" if several else "a later run")
    if not words:
        return GateState("pending", _nothing_heard(policy, gate, by_key))
    states = [_word(gate, word, _of(gate, key, record, several), now) for key, word in sorted(words.items())]
    return _worst([*states, *_failed_last(gate, words.values(), now)])


def _failed_last(gate: Gate, words: Iterable[Signal], now: datetime) -> Iterator[GateState]:
    """The failures that arrived after a word whose time was ahead of our clock: which of the two is newer nobody knows."""
    for word in words:
        if word.ahead and word.last is not None:
            last = word.last
            late = Signal(last.outcome, (), last.at, last.fact, last.evidence, last.data)
            state = _word(gate, late, (", after one whose time was ahead of our clock", ""), now)
            if state.state == "failed":
                yield state


def _worst(states: Sequence[GateState]) -> GateState:
    """The state of a gate that several sources speak to: passed only if each of them passes."""
    worst = max((state.state for state in states), key=_WORSE.index)
    alike = [state for state in states if state.state == worst]
    last = max(alike, key=lambda state: state.at or _NEVER)
    reason = "; ".join(state.reason for state in alike[:_NAMED])
    more = f"; and {len(alike) - _NAMED} more" if len(alike) > _NAMED else ""
    until = min((state.until for state in states if state.until is not None), default=None)
    facts = tuple(fact for state in states for fact in state.facts)
    return replace(last, reason=reason + more, until=until if worst == "passed" else None, facts=facts)


def _newest(policy: Policy, gate: Gate, record: Record, refs: Mapping[str, Signal]) -> Signal | None:
    """The newest fact made for a ref that counts; a CI fact whose ref nobody told counts for none.

    Only who may write to the repository can set a commit status, and GitHub names ten branches of it at most and no tag:
    it counts wherever the ledger itself saw the commit.
    """
    everywhere = gate.kind == "github-status" and (
        gate.any_branch or any(shipped(policy, ref) for ref in record.pushes)
    )

    def fits(ref: str) -> bool:
        if everywhere:
            return True
        if gate.any_branch or not ref:
            return bool(ref) or gate.kind not in CI
        return counts(policy, ref)

    return max((signal for ref, signal in refs.items() if fits(ref)), key=age, default=None)


def _nothing_heard(policy: Policy, gate: Gate, by_key: Mapping[str, Mapping[str, Signal]]) -> str:
    refs = sorted({ref for by_ref in by_key.values() for ref in by_ref})
    if not refs:
        return f"nothing heard from {subject(gate)} yet"
    told = ", ".join(ref or "an unknown ref" for ref in refs[:3])
    reason = f"{subject(gate)} was heard for {told} only, which {policy.name} does not ship"
    return f"{reason}; `any-branch: true` on the gate would take it" if gate.kind in CI and any(refs) else reason


def _of(gate: Gate, key: str, record: Record, several: bool) -> tuple[str, str]:
    """Which of the sources of that name it is, in words, and what to do about a failure there."""
    source, known = origin(key, record.runs), "#" in key and gate.kind in CI
    said = f" in {source}" if source and (several or known) else ""
    return said, "; run that again" if known else ""


def _word(gate: Gate, word: Signal, of: tuple[str, str], now: datetime) -> GateState:
    """What the newest fact of one source says, time included."""
    state, reason = _verdict(gate, word, of)
    until = word.at + gate.max_age if gate.max_age is not None and state == "passed" else None
    if gate.max_age is not None and until is not None and until <= now:
        state, reason = "expired", f"{reason} more than {span(gate.max_age)} ago, on {_day(word.at)}; run it again"
    return GateState(state, reason, word.at, (), word.evidence, until, (word.fact,))


def _verdict(gate: Gate, signal: Signal, of: tuple[str, str]) -> tuple[str, str]:
    """The state and its reason that a fact gives, time left aside."""
    source, again = of
    where = gate.wants.get("where")
    if where is not None:
        wrong = [
            f"{name} is {_shown(data, name)}"
            for data in (signal.data, *signal.tied)
            for name in where
            if not _same(data, name, where[name])
        ]
        said = f"{subject(gate)}{source}"
        return ("failed", f"{said}: {', '.join(dict.fromkeys(wrong))}") if wrong else ("passed", f"{said} passed")
    happened = gate.kind == "event" and signal.outcome in ("", SAID)
    outcome = "passed" if happened else signal.outcome or "no outcome"
    if outcome == "passed":
        return outcome, f"{subject(gate)} passed"
    if outcome == "failed":
        return outcome, f"{subject(gate)} failed{source}{again}"
    return "pending", f"{subject(gate)}{source}: {outcome}, and only a success passes"


def _same(data: Mapping[str, Any], name: str, wanted: Any) -> bool:
    """Whether a field is there and equal as JSON has it: true is not 1."""
    missing = object()
    value = data.get(name, missing)
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _shown(data: Mapping[str, Any], name: str) -> str:
    return repr(data[name])[:60] if name in data else "missing"


def _review(
    policy: Policy, gate: Gate, record: Record, made: Made, revoked: Revocation | None, now: datetime
) -> GateState:
    said = {reviewer(key): _newest(policy, gate, record, refs) for key, refs in heard(gate, record.signals).items()}
    words = {login: word for login, word in said.items() if word and (revoked is None or word.at > revoked.at)}
    refusing = sorted(login for login, word in words.items() if word.outcome == "failed")
    if refusing:
        facts = tuple(words[login].fact for login in refusing)
        return GateState("failed", f"changes requested by {', '.join(refusing)}", None, (), None, None, facts)
    given = {login: word for login, word in words.items() if word.outcome == "passed"}
    makers = made() if given and gate.wants.get("not_author") else None
    whys = {login: makers.refusal(login, [identity("github", login)]) if makers else None for login in given}
    notes = [f"{login}'s review does not count: {why}" for login, why in sorted(whys.items()) if why]
    old = sorted(login for login, word in words.items() if word.outcome == OUTDATED)
    notes += [f"{login}'s review does not count: it was of an earlier commit of the pull request" for login in old]
    votes = [(word.at, login, word.fact) for login, word in given.items() if whys[login] is None]
    if revoked is not None and not votes:
        return _revoked(revoked, "a new review")
    return _tally(gate, votes, gate.max_age, notes, now)


def _approval(
    policy: Policy, gate: Gate, record: Record, made: Made, revoked: Revocation | None, now: datetime
) -> GateState:
    words = newest_words(policy, record, gate.name).values()
    given = [word for word in words if word.granted and (revoked is None or word.at > revoked.at)]
    makers = made() if given and gate.wants.get("not_author") else None
    refusals = {word.person: left_out(gate, word, makers) or _unsure(word, makers) for word in given}
    votes = [(word.at, word.person, word.fact) for word in given if refusals[word.person] is None]
    if revoked is not None and not votes:
        return _revoked(revoked, "a new approval")
    notes = [f"{person}'s approval does not count: {why}" for person, why in sorted(refusals.items()) if why]
    return _tally(gate, votes, gate.expires, notes, now)


def newest_words(policy: Policy, record: Record, gate: str) -> Mapping[str, Approval]:
    """The newest word of each person on a gate, under the application's name or its former one."""
    words = [word for key in policy.keys(gate) for word in record.approvals.get(key, {}).values()]
    return {word.person: word for word in sorted(words, key=lambda word: (word.at, word.fact))}


def newest_revocation(policy: Policy, record: Record, gate: str) -> Revocation | None:
    """The newest revocation of a gate, under the application's name or its former one."""
    found = [record.revocations[key] for key in policy.keys(gate) if key in record.revocations]
    return max(found, key=lambda revocation: revocation.at, default=None)


def left_out(gate: Gate, word: Approval, makers: Authors | None) -> str | None:
    """Why an approval counts for nothing, or None. Who they were when they gave it is what counts.

    `makers` are the authors of the commit where the gate leaves them out, else None.
    """
    if not set(word.groups) & set(gate.wants["groups"]):
        return f"{word.person} was not in {' or '.join(gate.wants['groups'])}"
    if makers is None:
        return None
    if not word.identities:
        return (
            f"people.yaml had no github login or e-mail of {word.person}, so nobody can tell whether they are an author; "
            "once it has one, approve again"
        )
    return makers.left_out(word.person, word.identities)


def _unsure(word: Approval, makers: Authors | None) -> str | None:
    """Why an approval does not count as long as nobody knows every author."""
    return None if makers is None else makers.refusal(word.person, word.identities)


def _tally(
    gate: Gate, votes: list[tuple[datetime, str, str]], lasts: timedelta | None, notes: list[str], now: datetime
) -> GateState:
    """The state that `votes` (at, who, fact) give, each of which `lasts` for a while."""
    count = gate.wants.get("count", 1)
    live = sorted(vote for vote in votes if lasts is None or vote[0] + lasts > now)
    by, facts = tuple(who for _, who, _ in live), tuple(fact for _, _, fact in live)
    if len(live) >= count:
        until = live[-count][0] + lasts if lasts is not None else None
        reason = "; ".join([f"given by {', '.join(by)}", *notes])
        return GateState("passed", reason, live[count - 1][0], by, None, until, facts)
    gone = [f"{who}'s expired on {_day(at + lasts)}" for at, who, _ in sorted(votes) if lasts and at + lasts <= now]
    needs = f"needs {count - len(live)} more {subject(gate)}"
    state = "expired" if len(votes) >= count else "pending"
    return GateState(state, "; ".join([needs, *gone, *notes]), None, by, None, None, facts)


def _revoked(revoked: Revocation, lifted_by: str) -> GateState:
    why = f": {revoked.reason}" if revoked.reason else ""
    reason = f"revoked by {revoked.person} on {_day(revoked.at)}{why}; {lifted_by} lifts it"
    return GateState("revoked", reason, revoked.at, (revoked.person,), None, None, (revoked.fact,))


def _not_author(gate: Gate) -> str:
    return " (not the author)" if gate.wants.get("not_author") else ""


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
