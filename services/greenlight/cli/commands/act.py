"""The commands for people's actions: approve, revoke, deploy, retry, rollback, pause, freeze, cancel, override and so on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from greenlight.cli import arguments as args
from greenlight.cli import render, waiting
from greenlight.cli.client import Client
from greenlight.cli.waiting import State

reason = click.option("--reason", required=True, help="The reason, for the journal.")
lasts = click.option(
    "--for",
    "lasts",
    metavar="DURATION",
    help="The time that the request may wait before it expires, such as 12h. Default: 4h.",
)


def _done(
    answer: dict[str, Any],
    line: str,
    as_json: bool,
    look: Callable[[], State] | None = None,
    timeout: float = 0,
) -> None:
    """Print what was done; with `look`, wait for what follows, and exit with its code."""
    if not as_json:
        render.line(f"{line} ({answer['id']})")
        if "waits" in answer:
            render.line(f"it waits: {answer['waits']}")
        render.gates(answer.get("red", {}))
    state = None if look is None else waiting.until(look, timeout)
    if as_json:
        render.document(answer if state is None else {**answer, "deployments": state.deployments})
    if state is not None:
        sys.exit(state.code)


@click.command(cls=args.OfCommit)
@args.commit
@args.application
@args.gate
@click.option("--comment", help="A remark, for the journal.")
@waiting.option
@args.as_json
def approve(
    repo: str,
    sha: str,
    application: str,
    gate: str,
    comment: str | None,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Approve a commit at a gate. --wait waits until it runs in every environment that requires the gate.

    Example: greenlight approve acme/shop 3f2a91c shop approval_from_legal
    """
    client, body = Client(), {"application": application, "gate": gate} | ({"comment": comment} if comment else {})
    answer = client.post(f"/commits/{repo}/{sha}/approvals", body)
    look = partial(waiting.of_gate, client, repo, sha, application, gate)
    _done(answer, f"approved {gate} of {application}", as_json, look if wait else None, timeout)


@click.command(cls=args.OfCommit)
@args.commit
@args.application
@args.gate
@reason
@args.as_json
def revoke(repo: str, sha: str, application: str, gate: str, reason: str, as_json: bool) -> None:
    """Revoke a gate of a commit: it does not hold until a later run, or a new approval.

    Example: greenlight revoke acme/shop 3f2a91c shop approval_from_legal --reason "a licence is missing"
    """
    body = {"application": application, "gate": gate, "comment": reason}
    _done(Client().post(f"/commits/{repo}/{sha}/revocations", body), f"revoked {gate} of {application}", as_json)


def _request(
    application: str, environment: str, *, lasts: str | None, as_json: bool, wait: bool, timeout: float, **body: Any
) -> None:
    client, body = Client(), {**body, "for": lasts}
    answer = client.post(f"/targets/{application}/{environment}/deployments", _given(body))
    line = f"requested the {render.request(body | answer)} in {application}/{environment}, until {answer['until']}"
    look = partial(waiting.of_request, client, application, environment, answer["id"])
    _done(answer, line, as_json, look if wait else None, timeout)


def _given(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value not in (None, False)}


def _on_commit(kind: str, help: str) -> click.Command:
    """Return the command that requests a deployment of a commit."""

    @click.command(kind, cls=args.OfCommit, help=help)
    @args.commit
    @args.target
    @reason
    @lasts
    @waiting.option
    @args.as_json
    def command(repo: str, application: str, environment: str, **options: Any) -> None:
        _request(application, environment, kind=kind, **options)

    return command


deploy = _on_commit(
    "deploy",
    """Request the deployment of a commit, also of an older one. Its gates must have passed all the same.

    If the commit has newer candidates, they stay back until a later one is pushed, or you deploy one of them.

    Example: greenlight deploy acme/shop 3f2a91c shop staging --reason "compare with the one before"
    """,
)
retry = _on_commit(
    "retry",
    """Deploy a commit again whose deployment did not succeed.

    Example: greenlight retry acme/shop 3f2a91c shop staging --reason "the registry is back"
    """,
)


@click.command()
@args.target
@click.option("--to", "sha", type=args.SHA, help="The commit to go back to; default: the newest other that succeeded.")
@click.option("--pause", is_flag=True, help="Pause the target as well: nothing follows until it is resumed.")
@reason
@lasts
@waiting.option
@args.as_json
def rollback(application: str, environment: str, **options: Any) -> None:
    """Go back to a commit that succeeded before. Earlier pushes are not deployed again by themselves.

    Example: greenlight rollback shop production --reason "checkout is slow"
    """
    _request(application, environment, kind="rollback", **options)


@click.command()
@args.target
@click.option("--request", "what", flag_value="request", help="Withdraw the newest request that waits.")
@click.option("--deployment", "what", flag_value="deployment", help="End the deployment that is under way.")
@reason
@args.as_json
def cancel(application: str, environment: str, what: str | None, reason: str, as_json: bool) -> None:
    """Withdraw a person's request, or end a running deployment.

    Example: greenlight cancel shop production --request --reason "not before the sale"
    """
    if what is None:
        raise click.UsageError("name what to cancel: --request or --deployment")
    answer = Client().post(f"/targets/{application}/{environment}/cancel", {"what": what, "reason": reason})
    _done(answer, f"canceled the {what} in {application}/{environment}", as_json)


@click.command(cls=args.OfCommit)
@args.commit
@args.target
@args.gate
@reason
@args.as_json
def override(repo: str, sha: str, application: str, environment: str, gate: str, reason: str, as_json: bool) -> None:
    """Pass a gate for one commit in one environment. It is recorded, and shown wherever the gate is shown.

    It ends when a person revokes the gate, or when a newer fact fails it.

    Example: greenlight override acme/shop 3f2a91c shop production dependency_scan --reason "the scanner is down"
    """
    body = {"application": application, "environment": environment, "gate": gate, "reason": reason}
    line = f"overridden {gate} of {application}/{environment}"
    _done(Client().post(f"/commits/{repo}/{sha}/overrides", body), line, as_json)


@click.command()
@args.target
@reason
@args.as_json
def pause(application: str, environment: str, reason: str, as_json: bool) -> None:
    """Pause a target: nothing is deployed there until it is resumed.

    Example: greenlight pause shop production --reason "sale"
    """
    answer = Client().post(f"/targets/{application}/{environment}/pause", {"reason": reason})
    _done(answer, f"paused {application}/{environment}", as_json)


@click.command()
@args.target
@waiting.option
@args.as_json
def resume(application: str, environment: str, wait: bool, timeout: float, as_json: bool) -> None:
    """Resume a target; the newest commit that became ready meanwhile is deployed. --wait waits for that, if there is one.

    Example: greenlight resume shop production
    """
    _go_on("resume", {}, f"resumed {application}/{environment}", application, environment, as_json, wait, timeout)


def _go_on(
    verb: str,
    body: dict[str, Any],
    line: str,
    application: str,
    environment: str,
    as_json: bool,
    wait: bool,
    timeout: float,
) -> None:
    """Let a target go on; with `wait`, wait for the deployment that follows."""
    client, path = Client(), f"/targets/{application}/{environment}"
    deployments = client.get(f"{path}/deployments")["deployments"] if wait else []
    known = deployments[0]["id"] if deployments else None
    answer = client.post(f"{path}/{verb}", body)
    look = partial(waiting.of_target, client, application, environment, known)
    _done(answer, line, as_json, look if wait else None, timeout)


@click.command()
@args.target
@click.option("--until", type=args.TIME, help="The end, such as 2026-12-07T08:00:00+01:00.")
@click.option("--for", "lasts", metavar="DURATION", help="How long it lasts, such as 2h, in place of --until.")
@click.option("--from", "begins", type=args.TIME, help="The beginning; default: now.")
@click.option(
    "--except", "excepted", type=args.NAME, multiple=True, help="A group whose requests are served all the same."
)
@reason
@args.as_json
def freeze(
    application: str,
    environment: str,
    until: str | None,
    lasts: str | None,
    begins: str | None,
    excepted: tuple[str, ...],
    reason: str,
    as_json: bool,
) -> None:
    """Freeze a target for a time: until its end nothing is deployed there by itself, and then it goes on by itself.

    Requests of people wait as well, except those of the groups that --except names; it may be given several times.

    Example: greenlight freeze shop production --from 2026-12-04T18:00:00+01:00 --for 62h --reason "the sale"
    """
    if (until is None) is (lasts is None):
        raise click.UsageError("name the end: --until TIME or --for DURATION")
    body = {"reason": reason, "from": begins, "until": until, "for": lasts, "except": [*excepted] or None}
    answer = Client().post(f"/targets/{application}/{environment}/freeze", _given(body))
    _done(answer, f"frozen {application}/{environment} from {answer['from']} until {answer['until']}", as_json)


@click.command()
@args.target
@click.option(
    "--freeze", "id", metavar="ID", help="The freeze, by its id or the beginning of it, if there are several."
)
@click.option("--reason", help="The reason, for the journal.")
@waiting.option
@args.as_json
def unfreeze(
    application: str, environment: str, id: str | None, reason: str | None, as_json: bool, wait: bool, timeout: float
) -> None:
    """End a freeze of a target before its time, or give up a planned one. A freeze window of the pipeline file stays.

    Example: greenlight unfreeze shop production
    """
    body = _given({"freeze": id, "reason": reason})
    line = f"ended the freeze of {application}/{environment}"
    _go_on("unfreeze", body, line, application, environment, as_json, wait, timeout)
