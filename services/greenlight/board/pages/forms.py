"""The forms by which people act: each says what will happen before it is sent, and why a person may not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Response, g, redirect, render_template, request

from greenlight.board import actions, domain, reading, votes
from greenlight.board.brings import Brings, brings, only_red, worded
from greenlight.board.commits import Known, known
from greenlight.board.stops import OPEN, Stop, stops
from greenlight.lib.bodies import LONGEST_TEXT
from greenlight.lib.durations import span
from greenlight.lib.errors import Forbidden, NotFound, Rejected, Unauthenticated
from greenlight.model.freezes import TargetFreeze
from greenlight.model.policy import Policy
from greenlight.model.rows import Record, Request, Target
from greenlight.policy.decide import GREEN
from greenlight.policy.freezes import frozen
from greenlight.policy.requests import SERVED_WITHIN
from greenlight.service.deps import Deps
from greenlight.service.people import Person
from greenlight.service.situations import situation

PICKS = 10
"""Commits that a rollback can be picked from."""

_LASTS = f"It waits for at most {span(SERVED_WITHIN)}."


@dataclass(frozen=True, slots=True)
class Pick:
    """A commit that a rollback can lead to, with the gates that have not passed by now."""

    commit: Known
    note: str
    red: Sequence[str]  # those that say no, or were overridden
    open: Sequence[str]  # the others


@dataclass(frozen=True, slots=True)
class Form:
    """An action of a person, as it is described before it is taken."""

    title: str
    button: str
    effects: Sequence[str]
    back: str
    refused: str | None = None  # why this person may not
    brings: Brings = field(default_factory=Brings)
    reason: str | None = "Reason, for the journal"  # the label of its text; None: it has none
    needed: bool = True  # whether a reason must be given
    hidden: Mapping[str, str] = field(default_factory=dict)
    gates: Sequence[tuple[str, str]] = ()  # to pick from: name and state
    picks: Sequence[Pick] = ()
    picked: str | None = None  # the sha that is picked at first
    danger: bool = False
    pause: bool = False  # whether the target may be paused with it
    zone: str = ""  # where it asks for the times of a freeze: the time zone that is offered
    groups: Sequence[str] = ()  # groups that may be excepted from a freeze
    freezes: Sequence[TargetFreeze] = ()  # to pick from


def routes(pages: Blueprint, deps: Deps) -> None:
    """Add the forms of commits and targets."""

    @pages.route("/commits/<owner>/<name>/<sha>/<any(approve, refuse, override):verb>", methods=["GET", "POST"])
    def on_commit(owner: str, name: str, sha: str, verb: str) -> Any:
        person = logged_in_person()
        record = reading.record_of(f"{owner}/{name}", sha, deps)
        application = request.values.get("application", "")
        policy = reading.policy_of(application, deps)
        if policy.repo != record.repo:
            raise NotFound(f"{application} is made from {policy.repo}, not from {record.repo}")
        describe = {"approve": _approve, "refuse": _refuse, "override": _override}[verb]

        def act() -> None:
            with reading.acted_on(record.repo, record.sha, deps) as current:
                _vote(verb, current, application, person, deps)

        return answer(lambda: describe(record, policy, person, deps), act)

    @pages.route(
        "/targets/<application>/<environment>/<any(deploy, retry, rollback, pause, resume, cancel, withdraw):verb>",
        methods=["GET", "POST"],
    )
    def on_target(application: str, environment: str, verb: str) -> Any:
        person = logged_in_person()
        row = reading.target_of(application, environment, deps)
        policy = reading.policy_of(application, deps)
        return answer(
            lambda: _of_target(verb, row, policy, person, deps),
            lambda: _on_target(verb, application, environment, person, deps),
        )


def logged_in_person() -> Person:
    """Return the person who asks. Raises Unauthenticated."""
    if g.person is None:
        raise Unauthenticated("log in to act here; in the terminal the same is done with a token")
    person: Person = g.person
    return person


def answer(describe: Callable[[], Form], act: Callable[[], None]) -> Any:
    """Show the form; if it was sent, do it and go back to where it came from, or say in the form why it was not done."""
    form = describe()
    if request.method != "POST":
        return render_template("act.html", frame="base.html", form=form, wrong=None, typed="", live=None)
    try:
        act()
    except (Rejected, Forbidden) as problem:
        page = render_template(
            "act.html",
            frame="base.html",
            form=form,
            wrong=str(problem),
            typed=request.form.get("reason", ""),
            live=None,
        )
        return Response(page, problem.status, content_type="text/html; charset=utf-8")
    return redirect(form.back, 303)


def text(name: str) -> str | None:
    """Return a text of the form; None: it was left empty. Raises Rejected for a longer one than the API takes."""
    found = request.form.get(name, "").replace("\r\n", "\n").strip()  # a browser counts a line end once, and sends two
    if len(found) > LONGEST_TEXT:
        raise Rejected(f"`{name}` is longer than {LONGEST_TEXT} characters")
    return found or None


def _vote(verb: str, record: Record, application: str, person: Person, deps: Deps) -> None:
    gate, reason = request.form.get("gate", ""), text("reason")
    if verb == "approve":
        votes.approve(record, application, gate, reason, person, deps)
    elif verb == "refuse":
        if reason is None:
            raise Rejected("say why: whoever made the commit reads it")
        votes.revoke(record, application, gate, reason, person, deps)
    else:
        votes.override(record, application, request.form.get("environment", ""), gate, reason, person, deps)


def _on_target(verb: str, application: str, environment: str, person: Person, deps: Deps) -> None:
    reason = text("reason")
    if verb in ("pause", "resume"):
        actions.set_paused(application, environment, verb == "pause", reason, person, deps)
    elif verb == "cancel":
        actions.cancel_deployment(application, environment, reason, person, deps)
    elif verb == "withdraw":
        actions.cancel_request(application, environment, reason, person, deps)
    else:
        if reason is None:
            raise Rejected("a reason must be given")
        sha, pause = request.form.get("sha", ""), "pause" in request.form
        asked = actions.Asked(application, environment, verb, sha, reason, pause=pause)
        actions.request(asked, person, deps)


# What the forms about a commit say.


def _stops(record: Record, policy: Policy, deps: Deps) -> Sequence[Stop]:
    cases, _ = reading.situations_of(record, [policy], deps.clock.now(), deps)
    return stops(cases.values())


def _approve(record: Record, policy: Policy, person: Person, deps: Deps) -> Form:
    gate = _gate(policy)
    places = _stops(record, policy, deps)
    concerned = [stop for stop in places if gate in stop.decision.gates]
    refused = _every([domain.may_approve(person, policy.gates[gate], stop.case) for stop in concerned or places])
    open = [stop for stop in concerned if stop.state in OPEN]
    effects = [_effect(stop, gate, deps) for stop in open]
    lasts = getattr(policy.gates[gate], "expires", None)
    note = [] if lasts is None else [f"It holds {lasts.days} days." if lasts.days else f"It holds {lasts}."]
    return Form(
        f"Approve “{_called(record, deps)}” at {gate}?",
        "Approve",
        [*(effects or ["No environment waits for it now."]), *note],
        _commit(record),
        refused,
        brings(next(iter(open), None), deps),
        reason="Comment, if you like",
        needed=False,
        hidden={"application": policy.name, "gate": gate},
    )


def _effect(stop: Stop, gate: str, deps: Deps) -> str:
    """Return what follows in an environment once the gate has one more approval."""
    states = stop.decision.gates
    left = [name for name, state in states.items() if state.state not in GREEN and name != gate]
    missing = next((each for each in (stop.need.missing if stop.need else ()) if each.gate == gate), None)
    if missing is not None and missing.count > 1:
        left.insert(0, f"{missing.count - 1} more of {' or '.join(missing.groups)}")
    name, where = stop.environment, stop.case.target
    if stop.state == "none":
        return f"{name}: it has to succeed in {', '.join(stop.case.environment.after)} first."
    if left:
        return f"{name} then still waits for {', '.join(left)}."
    if where.paused is not None:
        return f"{name} is paused by {where.paused}; it goes out once that ends."
    shut = frozen(stop.case.environment, stop.case.target, None, stop.case.now)
    if shut is not None:
        return f"{name} is {shut}; it goes out afterwards."
    if stop.case.environment.promote == "manual":
        return f"{name}: everything is green then, and an operator deploys it."
    replaced = "" if where.running is None else f" It replaces {_named(where.repo, where.running.sha, deps)}."
    return f"It is deployed to {name} at once.{replaced}"


def _refuse(record: Record, policy: Policy, person: Person, deps: Deps) -> Form:
    gate = _gate(policy)
    effects = ["The commit is blocked where this gate is required, until a new approval or a later run."]
    running = [stop.environment for stop in _stops(record, policy, deps) if stop.state in ("succeeded", "running")]
    if running:
        effects.append(f"It stays where it runs ({', '.join(running)}); an operator may roll it back there.")
    return Form(
        f"Refuse “{_called(record, deps)}” at {gate}?",
        "Refuse",
        effects,
        _commit(record),
        domain.may_revoke(person, policy, policy.gates[gate]),
        reason="Why, for whoever made the commit",
        hidden={"application": policy.name, "gate": gate},
        danger=True,
    )


def _override(record: Record, policy: Policy, person: Person, deps: Deps) -> Form:
    environment = request.values.get("environment", "")
    stop = next((stop for stop in _stops(record, policy, deps) if stop.environment == environment), None)
    if stop is None:
        raise NotFound(f"{policy.name} has no environment {environment!r}; it has {', '.join(policy.environments)}")
    gates = [(name, gate.state) for name, gate in stop.decision.gates.items() if gate.state not in GREEN]
    over = f"A newer commit has taken its place in {environment}: an override alone does not deploy it."
    return Form(
        f"Override a gate of “{_called(record, deps)}” in {environment}?",
        "Override",
        [
            f"The gate counts as passed for this commit in {environment} alone; wherever it is shown, it is red and names you.",
            "A revocation, or a failure that is newer, ends it.",
            *([over] if stop.state in ("superseded", "done") else []),
        ],
        _commit(record),
        domain.may_override(person, stop.case) or (None if gates else f"every gate of {environment} is green"),
        brings(stop, deps),
        hidden={"application": policy.name, "environment": environment},
        gates=gates,
        danger=True,
    )


def _gate(policy: Policy) -> str:
    name = request.values.get("gate", "")
    if name not in policy.gates:
        raise NotFound(f"{policy.name} has no gate {name!r}; it has {', '.join(policy.gates)}")
    return name


def _every(refusals: Sequence[str | None]) -> str | None:
    """Return the first reason, if there is one for every environment: a vote that counts somewhere is none to refuse."""
    return None if not refusals or None in refusals else refusals[0]


def _called(record: Record, deps: Deps) -> str:
    return known(record.repo, [record.sha], deps)[record.sha].called


def _named(repo: str, sha: str, deps: Deps) -> str:
    """Return a commit with its title and the beginning of its sha."""
    commit = known(repo, [sha], deps)[sha]
    return f"“{commit.title}” ({commit.short})" if commit.title else commit.called


def _commit(record: Record) -> str:
    return f"/commits/{record.repo}/{record.sha}"


# What the forms about a target say.


def _of_target(verb: str, row: Target, policy: Policy, person: Person, deps: Deps) -> Form:
    where = f"{policy.name} in {row.environment}"
    back = f"/targets/{policy.name}/{row.environment}"
    refused = domain.may_operate(person, policy)
    if verb == "pause":
        effects = ["Nothing goes out there until an operator resumes it, except a rollback that a person asks for."]
        return Form(f"Pause {where}?", "Pause", effects, back, refused)
    if verb == "resume":
        effects = [
            f"Paused by {row.paused}." if row.paused else "It is not paused.",
            "What waited goes out, newest first.",
        ]
        return Form(f"Resume {where}?", "Resume", effects, back, refused, needed=False)
    if verb == "cancel":
        effects = ["The deployment under way ends as canceled. What it changed so far stays; nothing is rolled back."]
        nothing = None if row.deployment else f"no deployment is under way in {where}"
        return Form(f"End the deployment to {where}?", "End it", effects, back, refused or nothing, danger=True)
    if verb == "withdraw":
        effects = [
            f"{request.person} asked for a {request.kind} of {_named(row.repo, request.sha, deps)}."
            for request in row.requests[-1:]
        ]
        nothing = None if row.requests else f"no request waits in {where}"
        return Form(f"Withdraw the newest request for {where}?", "Withdraw", effects, back, refused or nothing)
    if verb == "rollback":
        return _rollback(row, policy, back, refused, person, deps)
    return _deploy(verb, row, policy, back, refused, person, deps)


def _waits_for(kind: str, row: Target, policy: Policy, person: Person, deps: Deps) -> Sequence[str]:
    """Return the freeze that a request of this person waits for."""
    now = deps.clock.now()
    asks = Request(kind, "", person.id, now, now, "", "", tuple(person.groups))
    shut = frozen(policy.environments[row.environment], row, asks, now)
    return [] if shut is None else [f"The target is {shut}. The request waits for that. {_LASTS}"]


def _deploy(verb: str, row: Target, policy: Policy, back: str, refused: str | None, person: Person, deps: Deps) -> Form:
    record = reading.record_of(policy.repo, request.values.get("sha", ""), deps)
    stop = next(stop for stop in _stops(record, policy, deps) if stop.environment == row.environment)
    left = [name for name, state in stop.decision.gates.items() if state.state not in GREEN]
    runs = f"It replaces {_named(row.repo, row.running.sha, deps)}." if row.running else "Nothing runs there yet."
    effects = [runs]
    if left:
        effects.append(f"It still waits for {', '.join(left)}: no request passes a gate. {_LASTS}")
    if row.paused is not None:
        effects.append(f"The target is paused by {row.paused}: it waits until that ends.")
    effects += _waits_for(verb, row, policy, person, deps)
    name = {"deploy": "Deploy", "retry": "Try again"}[verb]
    title = f"{name}: “{_called(record, deps)}” to {policy.name} in {row.environment}?"
    refused = refused or domain.never_shipped(policy, record)
    return Form(title, name, effects, back, refused, brings(stop, deps), hidden={"sha": record.sha})


def _rollback(row: Target, policy: Policy, back: str, refused: str | None, person: Person, deps: Deps) -> Form:
    leaves = row.last or (row.running.sha if row.running else "")
    shas = [sha for sha in row.history if sha != leaves][:PICKS]
    titles = known(policy.repo, shas, deps)
    picks: list[Pick] = []
    picked = None
    for sha in shas:
        record = deps.ledger.record(policy.repo, sha)
        attempt = policy.attempt(record, row.environment) if record is not None else None
        if record is not None and attempt is not None:
            note = f"rolled back from by {attempt.rolled_back}" if attempt.rolled_back else ""
            picked = picked or (None if note else sha)  # where a rollback without a commit leads
            succeeded = f"{attempt.succeeded_at:%Y-%m-%d %H:%M UTC}" if attempt.succeeded_at else ""
            picks.append(_pick(record, titles[sha], note or f"succeeded {succeeded}", row, policy, deps))
    effects = [
        f"It replaces {_named(policy.repo, leaves, deps)}, deployed last."
        if leaves
        else "Nothing was deployed here yet.",
        *(_waits_for("rollback", row, policy, person, deps) or ["It begins at once; a pause does not stop it."]),
        "If a gate of that commit is not green, it is refused until the gate passes, or an operator overrides it.",
        "Commits that were pushed before the rollback are then not deployed by themselves: an operator deploys one, or a "
        "newer commit is pushed.",
    ]
    nothing = None if picks else "nothing else has succeeded there"
    title = f"Roll back {policy.name} in {row.environment}?"
    return Form(
        title,
        "Roll back",
        effects,
        back,
        refused or nothing,
        picks=picks,
        picked=picked or next((it.commit.sha for it in picks), None),
        danger=True,
        pause=row.paused is None,
    )


def _pick(record: Record, commit: Known, note: str, row: Target, policy: Policy, deps: Deps) -> Pick:
    case = situation(policy, record, row, deps.ledger, deps.clock.now())
    gates = domain.gates_for("rollback", case)
    red = only_red(gates)
    others = {name: gate for name, gate in gates.items() if gate.state not in GREEN and name not in red}
    return Pick(commit, note, worded(red), worded(others))
