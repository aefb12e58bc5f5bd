"""Readers of the ledger, for the API and the pages alike."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from greenlight.board import domain, view
from greenlight.board.brings import brings, only_red
from greenlight.board.stops import OPEN, Stop, stops
from greenlight.events import rfc3339
from greenlight.ledger.found import found_lately, lost_pushes
from greenlight.ledger.names import name_of
from greenlight.ledger.port import Unreadable
from greenlight.lib.errors import NotFound, Rejected, Unavailable
from greenlight.lib.paging import BAD_CURSOR
from greenlight.model.policy import GateState, Policy
from greenlight.model.rows import Deployment, Record, Request, Target
from greenlight.policy.shape import closest
from greenlight.service.adoption import is_in_force
from greenlight.service.deps import Deps
from greenlight.service.pushes import silent_since
from greenlight.service.reading import reading_of_commit
from greenlight.service.renames import known_as
from greenlight.service.situations import situation
from greenlight.service.situations import target_of as target_in

_ID = re.compile(r"[0-9a-zA-Z_-]{1,100}")


class Ambiguous(Rejected):
    """Report that a prefix stands for more than one commit."""


def record_of(repo: str, prefix: str, deps: Deps) -> Record:
    """Return the record of a commit, by its sha or any unambiguous prefix of at least 7. Raises NotFound, Ambiguous."""
    repo, prefix = repo.lower(), prefix.lower()
    if len(prefix) < 7:
        raise NotFound(f"{prefix!r} is too short: give at least 7 digits of the sha")
    shas = [prefix] if len(prefix) in (40, 64) else deps.ledger.find(repo, prefix)
    if len(shas) > 1:
        raise Ambiguous(f"{prefix} is the beginning of more than one commit of {repo}: give more digits")
    record = deps.ledger.record(repo, shas[0]) if shas else None
    if record is None:
        raise NotFound(f"no commit {prefix} of {repo} is known: check that its webhook is sent here")
    return record


@contextmanager
def acted_on(repo: str, prefix: str, deps: Deps) -> Iterator[Record]:
    """Yield the record of a commit that a person acts on, in a session of the ledger: its targets are read with it.

    Raises as `record_of` does.
    """
    with deps.ledger.session(reading_of_commit(repo.lower(), prefix.lower(), deps.pipeline())):
        yield record_of(repo, prefix, deps)


def policy_of(application: str, deps: Deps) -> Policy:
    """Return the policy of an application. Raises NotFound."""
    policies = deps.pipeline().applications
    if application not in policies:
        raise NotFound(f"no application {application!r}; {closest(application, list(policies))}")
    return policies[application]


def target_of(application: str, environment: str, deps: Deps) -> Target:
    """Return the target, as it is stored or as it begins. Raises NotFound, Unavailable while the file is read again."""
    policy = policy_of(application, deps)
    if environment not in policy.environments:
        names = list(policy.environments)
        raise NotFound(f"{application} has no environment {environment!r}; {closest(environment, names)}")
    target = target_in(policy, environment, deps.ledger)
    if target.renamed is None:
        return target
    policy, pipeline = policy_of(application, deps), deps.pipeline()  # the file may have been read again since
    name = known_as(policy, environment, pipeline, deps.ledger)
    if name == application:
        return target
    if not is_in_force(policy.repo, pipeline, deps.ledger):
        raise Unavailable(f"{application} is called {name} in a pipeline file that is being read here; try again")
    known = policy.target(environment, deps.ledger.target(name, environment))
    return replace(known, application=application)  # it is renamed back once what is under way has ended


def red_of(request: Request, target: Target, deps: Deps) -> Mapping[str, GateState]:
    """Return the gates that say no to what was requested, or that an operator overrode, as far as they can be read."""
    try:
        record = deps.ledger.record(target.repo, request.sha)
        if record is None:
            return {}
        policy = policy_of(target.application, deps)
        case = situation(policy, record, target, deps.ledger, deps.clock.now())
        return only_red(domain.gates_for(request.kind, case))
    except Unreadable:
        return {}


def deployment_of(id: str, deps: Deps) -> Deployment:
    """Return a deployment. Raises NotFound."""
    row = deps.ledger.deployment(id) if _ID.fullmatch(id) else None
    if row is None:
        raise NotFound(f"no deployment {id[:100]!r}: `greenlight history APPLICATION ENVIRONMENT` lists them")
    return row


def deployments_of(target: Target, deps: Deps, *, limit: int = 20, after: str | None = None) -> Sequence[Deployment]:
    """Return deployments of a target, newest first: the first `limit`, or those that follow the one with the id `after`.

    Those under the application's former name come after its own. Raises Rejected for an `after` of no deployment there.
    """
    names = policy_of(target.application, deps).names
    last = None if after is None else deps.ledger.deployment(after)
    if after is not None:
        if last is None or last.application not in names or last.environment != target.environment:
            raise Rejected(BAD_CURSOR)
        names = names[names.index(last.application) :]
    found: list[Deployment] = []
    for name in names:
        before = last if last is not None and last.application == name else None
        found += deps.ledger.deployments(name, target.environment, limit=limit - len(found), before=before)
        if len(found) >= limit:
            break
    return found


def every_target(deps: Deps) -> Sequence[tuple[Target, str | None]]:
    """Return every target of the pipeline file, read at once.

    One that cannot be read is a new target, with the reason.
    """
    stored = {(row.application, row.environment): row for row in deps.ledger.targets()}
    doubtful = any(row.table == "targets" for row in deps.ledger.unreadable())  # a list leaves out what it cannot read
    found: list[tuple[Target, str | None]] = []
    for policy in deps.pipeline().applications.values():
        for name in policy.environments:
            row = policy.target(name, stored.get((policy.name, name)))
            if row.renamed is not None:
                with suppress(Unavailable, Unreadable):  # it is shown as it was read, until the file is read again here
                    row = target_of(policy.name, name, deps)
            found.append((row, _why_unreadable(row, deps) if doubtful else None))
    return found


def _why_unreadable(target: Target, deps: Deps) -> str | None:
    try:
        deps.ledger.target(target.application, target.environment)
    except Unreadable as problem:
        return str(problem)
    return None


def situations_of(
    record: Record, policies: Sequence[Policy], now: datetime, deps: Deps
) -> tuple[view.Situations, Mapping[tuple[str, str], str]]:
    """Return the situation of a commit in every target of these applications; for unreadable ones the reason."""
    found, unreadable = {}, {}
    for policy in policies:
        for environment in policy.environments:
            try:
                target = target_of(policy.name, environment, deps)
                found[policy.name, environment] = situation(policy, record, target, deps.ledger, now)
            except Unreadable as problem:
                unreadable[policy.name, environment] = str(problem)
    return found, unreadable


def commit_of(record: Record, deps: Deps) -> dict[str, Any]:
    """Return a commit as the API shows it, with what would go out with it to each environment that can be read."""
    policies, situations, unreadable = _situations_here(record, deps.clock.now(), deps)
    shown = _commit(record, policies, situations, unreadable)
    for policy in policies:
        environments = shown["applications"][policy.name]["environments"]
        if any("gates" not in environments[name] for name in policy.environments):
            continue  # what a decision reads cannot be read
        for stop in stops(situations[policy.name, name].of(record) for name in policy.environments):
            environments[stop.environment] |= {"brings": _brings(stop, deps)}
    return shown


def _brings(stop: Stop, deps: Deps) -> dict[str, Any] | None:
    """Return what would go out with a commit, as the API shows it; None: a row that it needs cannot be read."""
    try:
        return view.brings(brings(stop if stop.state in OPEN else None, deps))
    except Unreadable:
        return None


def commits_of(records: Sequence[Record], deps: Deps) -> list[dict[str, Any]]:
    """Return commits as the API shows them. Their targets and the pushes there are read once for all of them.

    Where a target or a push cannot be read, its environment says so, and no more.
    """
    now = deps.clock.now()
    any_of_repo = {record.repo: record for record in records}
    shared = {repo: _situations_here(record, now, deps) for repo, record in any_of_repo.items()}
    return [_commit(record, *shared[record.repo]) for record in records]


def _situations_here(
    record: Record, now: datetime, deps: Deps
) -> tuple[Sequence[Policy], view.Situations, Mapping[tuple[str, str], str]]:
    """Return the policies of a commit's repository with the environments that can be read, the situations, and the rest."""
    policies = deps.pipeline().of(record.repo)
    situations, unreadable = situations_of(record, policies, now, deps)
    return _without(policies, unreadable), situations, unreadable


def _commit(
    record: Record, policies: Sequence[Policy], situations: view.Situations, unreadable: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    try:
        shown = view.commit(record, policies, situations)
    except Unreadable as problem:  # what a decision reads beside the targets and their pushes
        shown = view.commit(record, [], {})
        unreadable = {
            **unreadable,
            **{(policy.name, name): str(problem) for policy in policies for name in policy.environments},
        }
    for (application, environment), why in unreadable.items():
        parts = shown["applications"].setdefault(application, {"gates": {}, "environments": {}})
        parts["environments"][environment] = view.unreadable(why)
    return shown


def _without(policies: Sequence[Policy], environments: Collection[tuple[str, str]]) -> Sequence[Policy]:
    """Return the policies without some (application, environment)."""
    if not environments:
        return policies
    rest = []
    for policy in policies:
        kept = {
            name: environment
            for name, environment in policy.environments.items()
            if (policy.name, name) not in environments
        }
        rest += [replace(policy, environments=kept)] if kept else []
    return rest


def configured(deps: Deps) -> list[str]:
    """Return the repositories that the pipeline file names."""
    return sorted({policy.repo for policy in deps.pipeline().applications.values()})


def repositories(deps: Deps) -> list[dict[str, Any]]:
    """Return the state of the configured repositories: their present names, and what is wrong with their webhooks."""
    now, found = deps.clock.now(), []
    for repo in configured(deps):
        silent = silent_since(deps.ledger, repo, now)
        found.append(
            {
                "repo": repo,
                "called": name_of(deps.ledger, repo).now or repo,
                "silent_since": rfc3339(silent) if silent else None,
                "found_by_asking": found_lately(deps.ledger, repo, now),
                "lost_pushes": [
                    {"ref": push.ref, "sha": push.sha, "text": push.text} for push in lost_pushes(deps.ledger, repo)
                ],
            }
        )
    return found
