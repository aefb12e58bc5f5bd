"""`greenlight ledger`: makes and checks a table on the real thing, and prints policies that allow what the ledger does."""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from greenlight.ledger import names
from greenlight.ledger.dynamodb import aws
from greenlight.ledger.dynamodb.client import Dynamo
from greenlight.ledger.port import Ledger, Transaction
from greenlight.model.arrivals import ProcessArrivals
from greenlight.model.rows import Title
from support.dynamodb import MISSING, Says, Table, Way, way
from support.ledger import (
    REPO,
    HandClock,
    a_decision,
    a_due,
    a_fact,
    a_push,
    a_record,
    a_target,
    an_entry,
    an_event,
    at,
    sha,
)

needs_dynamodb = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "greenlight.cli.main", "ledger", *words],
        env={**os.environ, "GREENLIGHT_LEDGER": "", **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def name() -> Iterator[str]:
    """Of a table that is not there yet, and is not there afterwards."""
    name = f"greenlight-test-{uuid.uuid4()}"
    yield name
    dynamo = Dynamo(aws.Service("dynamodb", aws.account()), name)
    dynamo.call("UpdateTable", {"DeletionProtectionEnabled": False})
    dynamo.call("DeleteTable", {})


@needs_dynamodb
def test_create_makes_a_table_that_check_finds_right(name: str) -> None:
    """Twice, too; what DynamoDB Local does not offer is said to be that, and is not 0 for check."""
    made = run("create", "--json", env={"GREENLIGHT_LEDGER": f"dynamodb:{name}"})
    assert made.returncode == 0, made.stderr
    verdicts = {one["setting"]: one["verdict"] for one in json.loads(made.stdout)["settings"]}
    assert verdicts.pop("point-in-time recovery") == "not offered"
    assert set(verdicts.values()) == {"holds"}
    assert {"key", "index ordered", "index grouped", "deletion protection", "time to live"} <= verdicts.keys()
    again = run("create", "--table", name)
    assert (again.returncode, "exists already" in again.stderr) == (0, True)
    checked = run("check", "--table", name)
    assert checked.returncode == 3
    assert "point-in-time recovery\tnot offered\t35 days\t-\tthis DynamoDB does not offer it" in checked.stdout


@needs_dynamodb
def test_check_says_what_differs_and_what_to_do(name: str) -> None:
    """Whatever is not as in the file."""
    dynamo = Dynamo(aws.Service("dynamodb", aws.account()), name)
    dynamo.call(
        "CreateTable",
        {
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
        },
    )
    checked = run("check", "--table", name, "--json")
    assert checked.returncode == 1
    differs = {one["setting"]: one for one in json.loads(checked.stdout)["settings"] if one["verdict"] == "differs"}
    assert set(differs) == {
        "key", "billing mode", "index ordered", "index grouped", "deletion protection", "time to live",
    }  # fmt: skip
    assert all(one["to_do"] for one in differs.values())
    assert differs["billing mode"]["found"] == "PROVISIONED"
    assert differs["key"]["found"] == "id HASH"


@needs_dynamodb
def test_a_table_that_is_not_there_is_1_and_a_dynamodb_that_is_not_there_is_3() -> None:
    """And no table named at all is 2."""
    assert run("check").returncode == 2
    missing = run("check", "--table", "nobody-made-it")
    assert (missing.returncode, "greenlight ledger create" in missing.stderr) == (1, True)
    nobody = run("check", "--table", "any-table", env={"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9"})
    assert (nobody.returncode, "127.0.0.1:9" in nobody.stderr) == (3, True)


@needs_dynamodb
def test_what_may_not_be_asked_is_unknown() -> None:
    """The table is compared as far as its role allows."""
    table = Table()
    with way() as road:
        road.fail("DescribeTimeToLive", Says(400, "AccessDeniedException"))
        checked = run("check", "--table", table.name, "--json", env={"AWS_ENDPOINT_URL_DYNAMODB": road.address})
    found = {one["setting"]: one for one in json.loads(checked.stdout)["settings"]}
    assert found["time to live"]["verdict"] == "unknown"
    assert found["deletion protection"]["verdict"] == "differs"
    table.delete()


def policy(role: str, *words: str) -> dict[str, Any]:
    """As it is printed."""
    done = run("policy", role, "--table", "tab", "--account", "123456789012", "--region", "eu-west-1", *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_policies_name_the_table_and_the_prefix_and_no_more() -> None:
    """Nothing may be done to any resource but these; without a bucket, nothing is said of S3."""
    table = "arn:aws:dynamodb:eu-west-1:123456789012:table/tab"
    for role in ("webhooks", "services", "operator"):
        for statement in policy(role, "--bucket", "bkt/x/")["Statement"]:
            for resource in listed(statement["Resource"]):
                assert resource in (table, f"{table}/index/*", "arn:aws:s3:::bkt/x/*")
            assert not any("*" in action for action in listed(statement["Action"]))
        assert "s3:" not in json.dumps(policy(role))


def test_the_lifecycle_rule_drops_bodies_and_leaves_rows() -> None:
    """By their prefix."""
    done = run("lifecycle", "--bucket", "bkt/x")
    assert [rule["Filter"] for rule in json.loads(done.stdout)["Rules"]] == [{"Prefix": "x/body-"}]


_NEEDS = {
    "Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem",
}  # fmt: skip


def deeds(road: Way) -> Iterator[tuple[str, str, bool]]:
    """(action, leading key, whether on an index) of all that was asked, as IAM sees it.

    A transaction needs the permissions of its parts ("Using IAM with DynamoDB transactions").
    """
    for operation, document in road.asked:
        if operation == "TransactWriteItems":
            for part in document["TransactItems"]:
                for kind, one in part.items():
                    yield _NEEDS[kind], (one.get("Key") or one["Item"])["pk"]["S"], False
        elif operation in ("BatchGetItem", "BatchWriteItem"):
            for one in document["RequestItems"].values():
                keys = one["Keys"] if operation == "BatchGetItem" else [it["DeleteRequest"]["Key"] for it in one]
                yield from ((operation, key["pk"]["S"], False) for key in keys)
        elif operation == "Query":
            yield operation, next(iter(document["ExpressionAttributeValues"].values()))["S"], "IndexName" in document
        else:
            yield operation, (document.get("Key") or document["Item"])["pk"]["S"], False


def listed(value: str | list[str]) -> list[str]:
    """What IAM lets one write without brackets."""
    return [value] if isinstance(value, str) else value


def allowed(policy: dict[str, Any], action: str, key: str, index: bool) -> bool:
    """Whether a statement allows it."""
    for statement in policy["Statement"]:
        actions, resources = statement["Action"], statement["Resource"]
        keys = statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", ["*"])
        if (
            f"dynamodb:{action}" in listed(actions)
            and any(one.endswith("/index/*") == index for one in listed(resources))
            and any(fnmatch.fnmatchcase(key, one) for one in keys)
        ):
            return True
    return False


def everything(ledger: Ledger) -> None:
    """Whatever a service asks of a ledger."""
    ledger.transact(
        Transaction(
            records=[a_record()], targets=[a_target()], decisions=[a_decision()], pushes=[a_push()], recorded=["f1"],
            unchanged=[a_target("production")], entries=[an_entry()], emit=[an_event("e"), an_event("e2")],
            due=[a_due()], done=[("f", "f")],
        )
    )  # fmt: skip
    ledger.transact(Transaction(decisions=[a_decision(1, "superseded", version=1)]))
    ledger.published(["e", "e2", "e3"])
    ledger.due(at(99))
    ledger.outbox(older_than=at(99))
    ledger.pushes(REPO)
    ledger.decisions("shop", "staging", ["ready", "superseded"])
    ledger.records(decision="ready")
    ledger.targets()
    ledger.deployments("shop", "staging")
    ledger.journal("commit/x")
    ledger.keep_policy("sha256:00", "text")
    ledger.forget_bodies(at(99))
    ledger.erase_titles(["p1"])
    ledger.arrivals.newest()


def webhooks(ledger: Ledger) -> None:
    """What the webhooks ask of it: a fact, a message's claim, and what tracing tells of a commit."""
    ledger.claim("scanner", "m", "sha256:00")
    ledger.accept(a_fact(titles=(Title(sha(1), "Round up", "Lena", "p1"),)), b"\x00\x01" * 5000, a_due(event="f1"))
    ledger.accept(a_fact("f2"), bytes(range(256)) * 40, a_due(event="f2"))
    ledger.published(["f1"])
    ledger.entries(REPO, sha(1))
    names.rename(ledger, names.bind(ledger, names.name_of(ledger, REPO), "github.com/1", at(1)), "acme/store", at(2))
    names.clock_ahead(ledger, "github", at(9) - at(1), at(2))
    ledger.arrivals.keep(ProcessArrivals("pod/1", at(1), at(2), {}, ()), timedelta(days=3))
    ledger.ready()


@needs_dynamodb
def test_each_policy_allows_what_its_services_do_and_webhooks_can_write_no_decision() -> None:
    """Every request of a ledger at work, judged as IAM would."""
    table = Table()
    with way() as road:
        ledger = table.ledger(clock=HandClock().now, through=road.address)
        webhooks(ledger)
        theirs = list(deeds(road))
        everything(ledger)
        all_of_them = list(deeds(road))
    table.delete()
    services, edge = policy("services"), policy("webhooks")
    assert [deed for deed in all_of_them if not allowed(services, *deed)] == []
    assert [deed for deed in theirs if not allowed(edge, *deed)] == []
    refused = {key.partition("#")[0] for action, key, index in all_of_them if not allowed(edge, action, key, index)}
    assert {"records", "targets", "decisions", "state", "journal", "pushes", "policy", "outbox"} <= refused
    assert not [
        action for action, key, index in all_of_them if "Delete" in action and allowed(edge, action, key, index)
    ]
    used = {f"dynamodb:{action}" for action, _, _ in all_of_them}
    given = {
        action
        for one in services["Statement"]
        for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    }
    assert given == used, "a permission that nobody uses, or one that is missing"
