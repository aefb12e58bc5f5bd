"""approve, revoke, deploy, retry, rollback, pause, resume: what people do."""

from __future__ import annotations

from typing import Any

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import Client

reason = click.option("--reason", required=True, help="Why; it is kept in the journal.")


def _done(answer: dict[str, Any], line: str, as_json: bool) -> None:
    if as_json:
        render.document(answer)
    else:
        render.line(f"{line} ({answer['id']})")


@click.command()
@args.repo
@args.sha
@args.application
@args.gate
@click.option("--comment", help="What you want to be remembered with it.")
@args.as_json
def approve(repo: str, sha: str, application: str, gate: str, comment: str | None, as_json: bool) -> None:
    """Approve a commit at a gate.

    Example: greenlight approve acme/shop 3f2a91c shop approval_from_legal
    """
    body = {"application": application, "gate": gate} | ({"comment": comment} if comment else {})
    _done(Client().post(f"/commits/{repo}/{sha}/approvals", body), f"approved {gate} of {application}", as_json)


@click.command()
@args.repo
@args.sha
@args.application
@args.gate
@reason
@args.as_json
def revoke(repo: str, sha: str, application: str, gate: str, reason: str, as_json: bool) -> None:
    """Say that a gate does not hold for a commit: until a later run, or a new approval.

    Example: greenlight revoke acme/shop 3f2a91c shop approval_from_legal --reason "a licence is missing"
    """
    body = {"application": application, "gate": gate, "comment": reason}
    _done(Client().post(f"/commits/{repo}/{sha}/revocations", body), f"revoked {gate} of {application}", as_json)


def _request(kind: str, sha: str | None, application: str, environment: str, reason: str, as_json: bool) -> None:
    body = {"kind": kind, "reason": reason} | ({"sha": sha} if sha else {})
    answer = Client().post(f"/targets/{application}/{environment}/deployments", body)
    _done(answer, f"asked for {kind} of {answer['sha'][:7]} in {application}/{environment}", as_json)


@click.command()
@args.repo
@args.sha
@args.application
@args.environment
@reason
@args.as_json
def deploy(repo: str, sha: str, application: str, environment: str, reason: str, as_json: bool) -> None:
    """Ask for a commit to be deployed, also an older one. Its gates must be green all the same.

    Example: greenlight deploy acme/shop 3f2a91c shop staging --reason "compare with the one before"
    """
    _request("deploy", sha, application, environment, reason, as_json)


@click.command()
@args.repo
@args.sha
@args.application
@args.environment
@reason
@args.as_json
def retry(repo: str, sha: str, application: str, environment: str, reason: str, as_json: bool) -> None:
    """Deploy a commit again whose deployment failed.

    Example: greenlight retry acme/shop 3f2a91c shop staging --reason "the registry is back"
    """
    _request("retry", sha, application, environment, reason, as_json)


@click.command()
@args.application
@args.environment
@click.option("--to", "sha", type=args.SHA, help="The commit to go back to; default: the one that ran before.")
@reason
@args.as_json
def rollback(application: str, environment: str, sha: str | None, reason: str, as_json: bool) -> None:
    """Go back to a commit that ran before. The newer one does not come back by itself.

    Example: greenlight rollback shop production --reason "checkout is slow"
    """
    _request("rollback", sha, application, environment, reason, as_json)


@click.command()
@args.application
@args.environment
@reason
@args.as_json
def pause(application: str, environment: str, reason: str, as_json: bool) -> None:
    """Hold a target: nothing is deployed there until it is resumed.

    Example: greenlight pause shop production --reason "sale"
    """
    answer = Client().post(f"/targets/{application}/{environment}/pause", {"reason": reason})
    _done(answer, f"paused {application}/{environment}", as_json)


@click.command()
@args.application
@args.environment
@args.as_json
def resume(application: str, environment: str, as_json: bool) -> None:
    """Let a target go on; what became ready meanwhile is deployed, the newest first.

    Example: greenlight resume shop production
    """
    answer = Client().post(f"/targets/{application}/{environment}/resume", {})
    _done(answer, f"resumed {application}/{environment}", as_json)
