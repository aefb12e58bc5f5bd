"""The command ledger: the table of a ledger on DynamoDB, its settings, and the rights to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import click

from greenlight.cli import arguments as args
from greenlight.cli import render
from greenlight.cli.client import NO, UNKNOWN, USAGE, Failure
from greenlight.ledger.dynamodb import aws
from greenlight.ledger.dynamodb import table as dynamodb_table
from greenlight.ledger.dynamodb.client import Dynamo, Refused
from greenlight.lib.errors import ConfigurationError, Unavailable

F = TypeVar("F", bound=Callable[..., Any])

_TABLE = args.Shaped("table", r"[a-zA-Z0-9_.-]{3,255}", "a table's name: letters, digits, _ . and -, at least 3")
_ACCOUNT = args.Shaped("account", r"\d{12}", "an account's number: 12 digits")
_OBJECTS = args.Shaped(
    "bucket", r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9/_.-]*)?", "BUCKET or BUCKET/PREFIX, without s3://"
)


def _table(command: F) -> F:
    return click.option(
        "--table", type=_TABLE, help="The table's name. Default: the one of GREENLIGHT_LEDGER=dynamodb:TABLE."
    )(command)


@click.group()
def ledger() -> None:
    """Create and check the table of a ledger on DynamoDB.

    AWS is found as every service finds it: by AWS_REGION, credentials, and AWS_ENDPOINT_URL_DYNAMODB where that is set.
    """


@ledger.command()
@_table
@args.as_json
def create(table: str | None, as_json: bool) -> None:
    """Create the table with its indexes, time to live, point-in-time recovery and deletion protection.

    One that is there already is only compared, as check does. Exit 0 if it is as it should be, as far as this DynamoDB offers
    that; 1 if not.

    Example: greenlight ledger create --table greenlight
    """
    dynamo = _dynamo(table)
    try:
        made = dynamodb_table.create(dynamo)
    except Unavailable as problem:
        raise Failure(f"the table {dynamo.table} could not be created: {problem}", UNKNOWN) from None
    if not made:
        render.line(f"{dynamo.table} exists already; it was not changed", err=True)
    findings = _findings(dynamo)
    _print(findings, as_json)
    sys.exit(NO if any(one.verdict == dynamodb_table.DIFFERS for one in findings) else 0)


@ledger.command()
@_table
@args.as_json
def check(table: str | None, as_json: bool) -> None:
    """Compare the live table with the settings that it should have, and say what to do.

    Exit 0 if all hold; 1 if one differs or there is no table; 3 if one could not be found out, or is nothing that this DynamoDB
    offers.

    Example: greenlight ledger check --table greenlight
    """
    findings = _findings(_dynamo(table))
    _print(findings, as_json)
    verdicts = {one.verdict for one in findings}
    sys.exit(NO if dynamodb_table.DIFFERS in verdicts else UNKNOWN if verdicts > {dynamodb_table.HOLDS} else 0)


@ledger.command()
@click.argument("role", type=click.Choice(dynamodb_table.ROLES))
@_table
@click.option("--account", type=_ACCOUNT, required=True, help="The AWS account that the table is in.")
@click.option("--region", required=True, help="Its region.")
@click.option("--bucket", type=_OBJECTS, help="BUCKET/PREFIX of GREENLIGHT_BODIES, where bodies are in S3.")
def policy(role: str, table: str | None, account: str, region: str, bucket: str | None) -> None:
    """Print the IAM policy of a ROLE, with the rights that it needs and no more.

    webhooks: the one service that the internet reaches, which can only add facts. services: all others. operator: who runs
    create and check.

    Example: greenlight ledger policy services --table greenlight --account 123456789012 --region eu-west-1
    """
    name, _, prefix = (bucket or "").partition("/")
    render.document(
        dynamodb_table.policy(
            role, region=region, account=account, table=_named(table), bucket=name, prefix=_folder(prefix)
        )
    )


@ledger.command()
@click.option("--bucket", type=_OBJECTS, required=True, help="BUCKET/PREFIX of GREENLIGHT_BODIES.")
def lifecycle(bucket: str) -> None:
    """Print the lifecycle rule of the bucket for bodies: they expire after 35 days; rows too large for the table stay.

    Example: greenlight ledger lifecycle --bucket acme-greenlight/bodies
    """
    render.document(dynamodb_table.lifecycle(_folder(bucket.partition("/")[2])))


def _folder(prefix: str) -> str:
    return f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def _named(table: str | None) -> str:
    if table is not None:
        return table
    kind, _, name = os.environ.get("GREENLIGHT_LEDGER", "").partition(":")
    if kind != "dynamodb" or not name:
        raise Failure("name the table: --table NAME, or GREENLIGHT_LEDGER=dynamodb:TABLE", USAGE)
    return name


def _dynamo(table: str | None) -> Dynamo:
    name = _named(table)
    try:
        return Dynamo(aws.Service("dynamodb", aws.account()), name)
    except ConfigurationError as problem:
        raise Failure(str(problem).split("\n"), USAGE) from None
    except Unavailable as problem:
        raise Failure(str(problem), UNKNOWN) from None


def _findings(dynamo: Dynamo) -> list[dynamodb_table.Finding]:
    try:
        return dynamodb_table.check(dynamo)
    except Refused as refusal:
        code = NO if refusal.code == "ResourceNotFoundException" else UNKNOWN
        raise Failure(f"{dynamo.table}: {refusal}", code) from None
    except Unavailable as problem:
        raise Failure(f"{dynamo.table}: {problem}", UNKNOWN) from None


def _print(findings: list[dynamodb_table.Finding], as_json: bool) -> None:
    if as_json:
        render.document({"settings": [asdict(one) for one in findings]})
        return
    head = ("setting", "verdict", "wanted", "found", "what to do")
    render.table(head, [(one.setting, one.verdict, one.wanted, one.found, one.to_do) for one in findings])
