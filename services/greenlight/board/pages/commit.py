"""The page of a commit: where it stands and who must act, where its time went, what goes out with it, its journal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request
from markupsafe import Markup

from greenlight.board import domain, reading, waterfall
from greenlight.board.brings import Brings, brings, contained, red
from greenlight.board.commits import Known, known
from greenlight.board.links import pages_of
from greenlight.board.overview import last_line, signable
from greenlight.board.pages.shown import MINUTE, SOON
from greenlight.board.sentences import in_words
from greenlight.board.stops import OPEN, Missing, Need, Stop, between_tries, first_waiting, revoked, stops
from greenlight.board.timeline import Timeline, timeline
from greenlight.events import ids
from greenlight.ledger.journal import verify
from greenlight.ledger.port import Reading
from greenlight.model import keys
from greenlight.model.policy import Policy
from greenlight.model.rows import Entry, Record
from greenlight.policy.decide import GREEN, OVER
from greenlight.service.deps import Deps
from greenlight.service.people import Person

ENTRIES = 500
"""Of a commit's entries, how many its page shows: the newest."""


@dataclass(frozen=True, slots=True)
class Action:
    """An action that a person may take, with the address of its form."""

    label: str
    path: str
    main: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One application of the commit, as the page shows it."""

    policy: Policy
    stops: Sequence[Stop]
    unreadable: Mapping[str, str]  # by environment
    verdict: Markup
    need: Need | None
    printed: str  # the last line of the output, if the deployment failed
    running: Mapping[str, Known]  # what the environments run, by sha
    terminal: Sequence[str]  # the commands that do what the person who asks may do
    late: Sequence[str]  # what was revoked after the commit was deployed
    note: str  # why the person who asks may not give what is missing
    actions: Sequence[Action]
    time: Timeline | None
    to: Stop | None  # the first environment that lacks the commit
    brings: Brings
    inside: Collection[str]  # environments that run a newer commit which contains it

    @property
    def state(self) -> str:
        """Return the state whose colour the verdict has."""
        return self.need.state if self.need else self.stops[-1].state if self.stops else "error"


def values(owner: str, name: str, sha: str, person: Person | None, deps: Deps) -> Mapping[str, Any]:
    """Return what the template needs. Raises NotFound, Ambiguous."""
    record = reading.record_of(f"{owner}/{name}", sha, deps)
    commit = known(record.repo, [record.sha], deps)[record.sha]
    entries = deps.ledger.entries(record.repo, record.sha, limit=ENTRIES + 1)
    more, entries = len(entries) > ENTRIES, entries[-ENTRIES:]
    spans = waterfall.spans(record.repo, record.sha, entries)
    policies = deps.pipeline().of(record.repo)
    targets = [(policy.name, environment) for policy in policies for environment in policy.environments]
    with deps.ledger.session(Reading(targets=targets)):
        parts = [_part(record, policy, spans, person, deps) for policy in policies]
    sentences = in_words(entries, commit.author)
    every = "everything" in request.args
    running = any(stop.state == "running" for part in parts for stop in part.stops)
    return {
        "record": record,
        "web": pages_of(record.repo, deps.ledger),
        "commit": commit,
        "refs": sorted(record.pushes),
        "pushed": min((push.heard for push in record.pushes.values()), default=None),
        "trace": ids.trace_id(record.repo, record.sha),
        "parts": parts,
        "sentences": [sentence for sentence in sentences if every or not sentence.minor],
        "total": len(sentences),
        "hidden": 0 if every else sum(sentence.minor for sentence in sentences),
        "newest": ENTRIES if more else None,
        "chain": _chain(record, deps),
        "lasts": SOON if running else MINUTE,
    }


def _chain(record: Record, deps: Deps) -> Mapping[str, Any]:
    """Return how many entries of the commit's journal hold, and the hash of the last one."""
    entries: Sequence[Entry] = deps.ledger.journal(keys.commit_stream(record.repo, record.sha), limit=ENTRIES)
    found = verify(entries)
    return {"entries": found.entries, "head": found.head, "holds": found.holds, "reason": found.reason}


def _part(
    record: Record, policy: Policy, spans: Sequence[Mapping[str, Any]], person: Person | None, deps: Deps
) -> Part:
    now = deps.clock.now()
    cases, unreadable = reading.situations_of(record, [policy], now, deps)
    places = stops(cases[policy.name, name] for name in policy.environments if (policy.name, name) in cases)
    first = first_waiting(places)
    mine = signable(first, person)
    to = next((stop for stop in places if stop.state in OPEN), None)
    inside = [stop.environment for stop in places if stop.state in ("superseded", "done") and contained(stop)]
    folded = request.args.get("scale") != "true"
    return Part(
        policy,
        places,
        {name: why for (_, name), why in unreadable.items()},
        verdict(places, first, mine, inside),
        None if first is None else first.need,
        _printed(first, deps),
        known(record.repo, [stop.case.target.running.sha for stop in places if stop.case.target.running], deps),
        _terminal(record, policy, first, mine if person is not None else None),
        _late(places),
        _note(first, mine, person),
        list(_actions(record, policy, first, mine, person)),
        timeline(spans, policy.name, list(policy.environments), now, folded=folded),
        to,
        brings(to, deps),
        inside,
    )


def verdict(stops: Sequence[Stop], first: Stop | None, mine: Sequence[Missing], inside: Sequence[str]) -> Markup:
    """Return where the commit stands, and what it waits for, to a reader who may give the approvals `mine`.

    `inside` are the environments that run a newer commit which contains it.
    """
    runs = [stop.environment for stop in stops if stop.state == "succeeded"]
    said = Markup("Runs in {}. ").format(_and(runs)) if runs else Markup("")
    if first is None or first.need is None:
        if runs:
            return said
        if inside:
            return _inside(stops, inside)
        last = next((stop for stop in reversed(stops) if stop.state in ("done", "superseded")), None)
        if last is None:
            return Markup("It runs nowhere yet.")
        return Markup("It runs nowhere now. {} in {}.").format(last.word, last.environment)
    need, name = first.need, first.environment
    what = need.what([missing.gate for missing in mine])
    if need.state == "running":
        how = "It is tried again in {} after an error" if between_tries(first.case) else "It is being deployed to {}"
        return said + Markup('<b class="running">{}</b>.').format(how.format(name))
    if need.state in OVER:
        return said + Markup('<b class="{}">{}</b>.').format(need.state, what[:1].upper() + what[1:])
    if need.state in ("paused", "frozen"):
        return said + Markup('It would go out, but <b class="{}">{}</b>.').format(need.state, what)
    waits = "is blocked" if need.state == "blocked" else "waits"
    joint = ":" if need.state == "blocked" else " for"
    return said + Markup('{} {}{} <b class="{}">{}</b>.').format(
        name[:1].upper() + name[1:], waits, joint, need.state, what
    )


def _inside(stops: Sequence[Stop], names: Sequence[str]) -> Markup:
    """Return where a commit runs as a part of a newer one, and which gates said no to it there."""
    no = dict.fromkeys(each for stop in stops if stop.environment in names for each in red(stop.decision.gates))
    although = Markup(', although <b class="failed">{}</b>').format(_and(list(no))) if no else ""
    return Markup("Runs in {} as a part of a newer commit{}.").format(_and(names), although)


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _terminal(record: Record, policy: Policy, first: Stop | None, mine: Sequence[Missing] | None) -> Sequence[str]:
    """Return the commands for what the page offers; `mine` None: for what is missing, where no person is logged in."""
    commit = f"{record.repo} {record.sha[:7]}"
    if first is None or first.need is None:
        return []
    if first.state in OVER:
        return [f"greenlight retry {commit} {policy.name} {first.environment} --reason TEXT"]
    offered = first.need.missing if mine is None else mine
    return [f"greenlight approve {commit} {policy.name} {missing.gate}" for missing in offered]


def _printed(first: Stop | None, deps: Deps) -> str:
    attempt = None if first is None or first.state != "failed" else first.case.attempt
    return "" if attempt is None else last_line(attempt, deps)


def _late(places: Sequence[Stop]) -> Sequence[str]:
    """Return what was revoked too late, of the environments that run the commit."""
    runs = [stop for stop in places if stop.state == "succeeded"]
    return [f"too late for {run.environment}: {each}" for run in runs for each in revoked(run.decision.gates)]


def _note(first: Stop | None, mine: Sequence[Missing], person: Person | None) -> str:
    """Return which of the missing approvals this person may give, or why none."""
    if first is None or first.need is None or not first.need.missing:
        return ""
    if person is None:
        return "You are not logged in, so you cannot approve."
    if mine:
        made = "; you wrote none of these commits" if first.case.leaves_authors_out else ""
        return f"You may sign {' and '.join(missing.gate for missing in mine)}{made}."
    missing = first.need.missing[0]
    if person.id in first.decision.gates[missing.gate].by:
        return f"You have signed {missing.gate}."
    why = domain.may_approve(person, first.case.policy.gates[missing.gate], first.case)
    return f"You may not sign {missing.gate}: {why}." if why else ""


def _actions(
    record: Record, policy: Policy, first: Stop | None, mine: Sequence[Missing], person: Person | None
) -> Sequence[Action]:
    """Return what this person may do with the commit, what it waits for first."""
    base = f"/commits/{record.repo}/{record.sha}"
    about = Markup("application={}").format(policy.name)
    found: list[Action] = []
    if first is not None and first.case.attempt is not None and first.state in (*OVER, "running"):
        found.append(Action("Output", f"/deployments/{first.case.attempt.id}"))
    if person is None:
        return found
    if first is not None and first.need is not None and first.need.missing:
        for missing in mine or first.need.missing:
            asks = f"{about}&gate={missing.gate}"
            if domain.may_revoke(person, policy, policy.gates[missing.gate]) is None:
                found.append(Action(f"Refuse {missing.gate}…", f"{base}/refuse?{asks}"))
            if missing in mine:
                found.append(Action(f"Approve {missing.gate}…", f"{base}/approve?{asks}", True))
    if domain.may_operate(person, policy) is None:
        found += _operations(base, policy, first)
    return found


def _operations(base: str, policy: Policy, first: Stop | None) -> Sequence[Action]:
    if first is None or first.need is None:
        return []
    target = f"/targets/{policy.name}/{first.environment}"
    sha = first.case.record.sha
    if first.state in OVER:
        return [Action("Retry…", f"{target}/retry?sha={sha}", first.case.target.held is None)]
    if first.state == "running":
        return [Action("End the deployment…", f"{target}/cancel")]
    if first.state == "paused":
        return [Action("Resume…", f"{target}/resume")]
    if first.state == "pending" and all(gate.state in GREEN for gate in first.decision.gates.values()):
        return [Action(f"Deploy to {first.environment}…", f"{target}/deploy?sha={sha}", True)]
    return [Action("Override a gate…", f"{base}/override?application={policy.name}&environment={first.environment}")]
