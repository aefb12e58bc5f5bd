"""The command send: signs and sends a webhook as the provider would; for try-outs, scripts and CI jobs."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import urllib3

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import NO, UNKNOWN, USAGE, Client, Failure
from greenlight.lib import signing
from greenlight.lib.errors import PROBLEM

_url = click.option(
    "--webhooks-url", default="http://127.0.0.1:8081", envvar="GREENLIGHT_WEBHOOKS_URL", show_default=True
)
_secret = click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    help="A file with the secret on its first line. Default: the sender's in GREENLIGHT_SECRETS or .greenlight/secrets.",
)

WHOLE = 40
"""Digits of a sha that stands for itself."""


@click.group()
def send() -> None:
    """Sign and send a webhook as the provider would."""


@send.command()
@click.argument("event")
@click.argument("file", type=click.File("rb"))
@_url
@_secret
@args.as_json
def github(event: str, file: Any, webhooks_url: str, secret_file: Path | None, as_json: bool) -> None:
    """Send GitHub's EVENT (push, check_run, ...) with the payload in FILE (- for standard input).

    Example: greenlight send github push payload.json
    """
    body = file.read()
    headers = {"X-GitHub-Event": event, "X-Hub-Signature-256": signing.github(_key("github", secret_file), body)}
    _post(webhooks_url, "/webhooks/github", body, headers, as_json)


@send.command()
@click.argument("file", type=click.File("rb"))
@_url
@_secret
@args.as_json
def circleci(file: Any, webhooks_url: str, secret_file: Path | None, as_json: bool) -> None:
    """Send CircleCI's workflow-completed or job-completed with the payload in FILE.

    Example: greenlight send circleci payload.json
    """
    body = file.read()
    headers = {"circleci-signature": signing.circleci(_key("circleci", secret_file), body)}
    _post(webhooks_url, "/webhooks/circleci", body, headers, as_json)


@send.command()
@click.argument("name", type=args.NAME)
@click.argument("outcome", type=click.Choice(["passed", "failed"]))
@args.commit
@click.option("--run", type=int, help="The run's number: a higher one is newer.")
@click.option("--evidence", help="The URL of the report.")
@_url
@_secret
@args.as_json
def gate(
    name: str,
    outcome: str,
    repo: str,
    sha: str,
    run: int | None,
    evidence: str | None,
    webhooks_url: str,
    secret_file: Path | None,
    as_json: bool,
) -> None:
    """Report that the gate NAME passed or failed for a commit. A shortened SHA is looked up at GREENLIGHT_URL.

    Example: greenlight send gate dependency_scan passed acme/shop 3f2a91c
    """
    if len(sha) < WHOLE:
        sha = Client().get(f"/commits/{repo}/{sha}")["sha"]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    known = {"repo": repo, "sha": sha, "outcome": outcome, "at": at, "run": run, "evidence": evidence}
    body = json.dumps({key: value for key, value in known.items() if value is not None}).encode()
    headers = _standard(_key(f"gate-{name}", secret_file), body)
    _post(webhooks_url, f"/webhooks/gates/{name}", body, headers, as_json)


@send.command()
@click.argument("file", type=click.File("rb"))
@click.option("--sender", type=args.NAME, required=True, help="The sender whose secret signs the event: events-SENDER.")
@_url
@_secret
@args.as_json
def event(file: Any, sender: str, webhooks_url: str, secret_file: Path | None, as_json: bool) -> None:
    """Send a CloudEvent, as structured JSON in FILE.

    Example: greenlight send event scan.json --sender scanner
    """
    body = file.read()
    headers = _standard(_key(f"events-{sender}", secret_file), body)
    headers["Content-Type"] = "application/cloudevents+json"
    _post(webhooks_url, f"/webhooks/events/{sender}", body, headers, as_json)


def _standard(secret: bytes, body: bytes) -> dict[str, str]:
    stamp = int(time.time())  # noqa: TID251 - the signature says when it was made, by this machine's clock
    id = "msg_" + hashlib.sha256(body + str(stamp).encode()).hexdigest()[:24]
    try:
        signature = signing.standard_webhooks(secret, id, stamp, body)
    except ValueError as problem:
        raise Failure(str(problem).split("\n"), USAGE) from None
    return {"webhook-id": id, "webhook-timestamp": str(stamp), "webhook-signature": signature}


def _key(sender: str, secret_file: Path | None) -> bytes:
    folder = Path(os.environ.get("GREENLIGHT_SECRETS", ".greenlight/secrets"))
    path = secret_file or folder / sender
    try:
        lines = path.read_bytes().splitlines()
    except OSError as problem:
        raise Failure(
            f"{path}: {problem.strerror}. Name the secret's file with --secret-file, or its folder with GREENLIGHT_SECRETS",
            USAGE,
        ) from None
    live = [line for line in lines if line.strip()]
    if not live:
        raise Failure(f"{path}: holds no secret", USAGE)
    return live[0]


def _post(url: str, path: str, body: bytes, headers: Mapping[str, str], as_json: bool) -> None:
    try:
        answer = urllib3.request(
            "POST",
            url.rstrip("/") + path,
            body=body,
            headers={"Content-Type": "application/json", **headers},
            retries=False,
            timeout=15.0,
        )
    except (urllib3.exceptions.HTTPError, urllib3.exceptions.LocationValueError):
        raise Failure(
            f"no Greenlight answers at {url}; start one with `greenlight up`, or name its address with --webhooks-url",
            UNKNOWN,
        ) from None
    document = _of_greenlight(answer)
    if document is None:
        first = f"{url} answered {answer.status}, but is no Greenlight's port for webhooks"
        raise Failure([first, "Name its address, which `greenlight up` prints, with --webhooks-url."], UNKNOWN)
    if as_json:
        render.document(document)
    elif answer.status == 202:
        render.line(f"accepted as {document['id']}" if "id" in document else f"ignored: {document['ignored']}")
    if answer.status != 202:
        raise Failure(f"{answer.status}: {document['detail']}", UNKNOWN if answer.status >= 500 else NO)
    sys.exit(0)


def _of_greenlight(answer: urllib3.BaseHTTPResponse) -> dict[str, Any] | None:
    """Return an answer to a webhook, None if it is not one, but that of another port or program."""
    try:
        document = answer.json()
    except ValueError:
        return None
    if not isinstance(document, dict) or answer.status in (404, 405):
        return None
    taken = answer.status == 202 and not document.keys().isdisjoint(("id", "ignored"))
    refused = answer.headers.get("Content-Type", "").startswith(PROBLEM) and "detail" in document
    return document if taken or refused else None
