"""The table's settings (infra/table.json), for `greenlight ledger create` and `check`.

Every service uses the table; these settings are its operator's. What a DynamoDB does not offer, as DynamoDB Local has no
backups, is distinguished from what differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

from greenlight.ledger.dynamodb.client import Dynamo, Refused
from greenlight.lib.errors import Unavailable
from greenlight.lib.jitter import full_jitter

HOLDS, DIFFERS, NOT_OFFERED, UNKNOWN = "holds", "differs", "not offered", "unknown"

READY_POLLS = 120
"""How often it is asked whether a new table is ready, about half a second apart."""

ROLES = ("webhooks", "services", "operator")
"""Who has a policy of their own: the edge to the internet, every other service, and who calls `ledger create`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One setting: its wanted and its present value, and what to do where they differ."""

    setting: str
    verdict: str
    wanted: str
    found: str
    to_do: str = ""


def settings() -> dict[str, Any]:
    """Return the content of infra/table.json: CreateTable's parameters, and what is set once the table is there."""
    return _document("table.json")


def policy(role: str, *, region: str, account: str, table: str, bucket: str, prefix: str) -> dict[str, Any]:
    """Return the role's rights and no more, as an IAM policy. Without a bucket, it names no rights to S3."""
    words = json.dumps(_document("policy.json")[role])
    found: dict[str, Any] = json.loads(
        Template(words).substitute(region=region, account=account, table=table, objects=f"{bucket}/{prefix}")
    )
    if not bucket:
        found["Statement"] = [one for one in found["Statement"] if not one["Sid"].startswith("Bodies")]
    return found


def lifecycle(prefix: str) -> dict[str, Any]:
    """Return the bucket's lifecycle rule."""
    words = json.dumps(_document("lifecycle.json"))
    found: dict[str, Any] = json.loads(Template(words).substitute(prefix=prefix))
    return found


def _document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("greenlight.ledger").joinpath("infra", name).read_text())
    return found


def create(dynamo: Dynamo, *, pause: Callable[[int], None] = full_jitter) -> bool:
    """Create the table with all settings that this DynamoDB offers; False if it exists, which then stays as it is.

    Raises Unavailable, with what it was that could not be done.
    """
    wanted = settings()
    try:
        dynamo.call("CreateTable", wanted["CreateTable"])
    except Refused as refusal:
        if refusal.code != "ResourceInUseException":
            raise
        return False
    _wait(dynamo, pause)
    for operation, what in (
        ("UpdateTimeToLive", {"TimeToLiveSpecification": wanted["TimeToLive"]}),
        ("UpdateContinuousBackups", {"PointInTimeRecoverySpecification": wanted["PointInTimeRecovery"]}),
    ):
        try:
            dynamo.call(operation, what)
        except Refused as refusal:
            if refusal.code != "UnknownOperationException":
                raise
    return True


def _wait(dynamo: Dynamo, pause: Callable[[int], None]) -> None:
    for _ in range(READY_POLLS):
        try:
            table = dynamo.call("DescribeTable", {})["Table"]
        except Refused as refusal:
            if refusal.code != "ResourceNotFoundException":  # not everywhere known yet
                raise
        else:
            if table["TableStatus"] == "ACTIVE":
                return
        pause(10)
    raise Unavailable(f"the table {dynamo.table} was made and is not ready yet: try greenlight ledger check later")


def check(dynamo: Dynamo) -> list[Finding]:
    """Compare every setting of the live table with its file.

    Raises Refused without a table, Unavailable without an answer.
    """
    table = dynamo.call("DescribeTable", {})["Table"]
    return [*_shape(table), *_indexes(table), *_protection(table), _time_to_live(dynamo), _recovery(dynamo)]


def _shape(table: Mapping[str, Any]) -> Iterator[Finding]:
    wanted = settings()["CreateTable"]
    yield _compared("status", "ACTIVE", table["TableStatus"], "wait until it is")
    anew = "it cannot be changed: make another table, and move what this one has by export and import"
    yield _compared("key", _keys(wanted), _keys(table), anew)
    mode = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    yield _compared(
        "billing mode",
        wanted["BillingMode"],
        mode,
        "aws dynamodb update-table --billing-mode PAY_PER_REQUEST; or keep it, if its capacity scales by itself",
    )


def _indexes(table: Mapping[str, Any]) -> Iterator[Finding]:
    there = {index["IndexName"]: index for index in table.get("GlobalSecondaryIndexes", ())}
    for index in settings()["CreateTable"]["GlobalSecondaryIndexes"]:
        name = index["IndexName"]
        yield _compared(
            f"index {name}",
            f"{_keys(index)} {index['Projection']['ProjectionType']} ACTIVE",
            f"{_keys(there[name])} {there[name]['Projection']['ProjectionType']} {there[name]['IndexStatus']}"
            if name in there
            else "none",
            "aws dynamodb update-table --global-secondary-index-updates; the ledger's table.json has its definition",
        )


def _protection(table: Mapping[str, Any]) -> Iterator[Finding]:
    yield _compared(
        "deletion protection",
        "on",
        "on" if table.get("DeletionProtectionEnabled") else "off",
        "aws dynamodb update-table --deletion-protection-enabled",
    )


def _time_to_live(dynamo: Dynamo) -> Finding:
    wanted = settings()["TimeToLive"]["AttributeName"]

    def found() -> str:
        answer = dynamo.call("DescribeTimeToLive", {})["TimeToLiveDescription"]
        on = answer["TimeToLiveStatus"] in ("ENABLED", "ENABLING")
        return str(answer.get("AttributeName")) if on else "off"

    to_do = f"aws dynamodb update-time-to-live --time-to-live-specification Enabled=true,AttributeName={wanted}"
    return _compared_if_answered("time to live", wanted, found, to_do)


def _recovery(dynamo: Dynamo) -> Finding:
    days = settings()["PointInTimeRecovery"]["RecoveryPeriodInDays"]

    def found() -> str:
        answer = dynamo.call("DescribeContinuousBackups", {})["ContinuousBackupsDescription"]
        recovery = answer.get("PointInTimeRecoveryDescription", {})
        on = recovery.get("PointInTimeRecoveryStatus") == "ENABLED"
        return f"{recovery.get('RecoveryPeriodInDays', 35)} days" if on else "off"

    to_do = (
        "aws dynamodb update-continuous-backups --point-in-time-recovery-specification"
        f" PointInTimeRecoveryEnabled=true,RecoveryPeriodInDays={days}"
    )
    return _compared_if_answered("point-in-time recovery", f"{days} days", found, to_do)


def _compared_if_answered(setting: str, wanted: str, found: Callable[[], str], to_do: str) -> Finding:
    """Compare a setting that is read by a request of its own, which may not be answered."""
    try:
        return _compared(setting, wanted, found(), to_do)
    except Refused as refusal:
        if refusal.code == "UnknownOperationException":
            return Finding(
                setting, NOT_OFFERED, wanted, "-", "this DynamoDB does not offer it (DynamoDB Local does not)"
            )
        return Finding(setting, UNKNOWN, wanted, "?", str(refusal))


def _compared(setting: str, wanted: str, found: str, to_do: str) -> Finding:
    return (
        Finding(setting, HOLDS, wanted, found) if wanted == found else Finding(setting, DIFFERS, wanted, found, to_do)
    )


def _keys(described: Mapping[str, Any]) -> str:
    return ", ".join(f"{key['AttributeName']} {key['KeyType']}" for key in described["KeySchema"])
