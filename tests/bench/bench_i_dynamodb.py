"""I: a conditional write of the ledger on DynamoDB Local: what the ledger adds to the CPU of boto3's client."""

from __future__ import annotations

import importlib.util
import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from measure import Missing, Row, interleaved

from greenlight.ledger.rows_json import dumps
from greenlight.model.rows import Fact
from support.ledger import HandClock, a_due, a_fact, a_push

ROWS = ("I",)
WRITES = 300

Write = tuple[Callable[[str], Any], Callable[[Any], object]]
"""Makes something of a new name, which is not measured, and writes it, which is."""


def main() -> list[Row]:
    """CPU and wall time of each, client only: the server is another process."""
    if not os.environ.get("AWS_ENDPOINT_URL_DYNAMODB"):
        raise Missing('needs a DynamoDB: . "$(tests/cluster/cluster up dynamodb)"')
    if importlib.util.find_spec("boto3") is None:
        raise Missing("the baseline needs boto3: make .venv/bench")
    with _candidates() as candidates:
        names = itertools.count()
        for make, write in candidates.values():
            write(make("warm"))
        found = interleaved({name: _measured(write, names) for name, write in candidates.items()})
    for name, figures in found.items():
        print(
            f"  {name:34} {figures['cpu'] * 1e6:7.0f} µs of CPU, {figures['wall'] * 1e3:6.2f} ms until it is answered"
        )
    return [
        _row("CPU of a conditional PutItem", found, "ours, one item", "boto3, one item"),
        _row("CPU of a fact accepted, whole", found, "ours, a fact accepted", "boto3, the same four items"),
    ]


def _row(measure: str, found: Mapping[str, Mapping[str, float]], ours: str, theirs: str) -> Row:
    mine, other = found[ours]["cpu"], found[theirs]["cpu"]
    return Row("I", measure, f"{mine * 1e6:.0f} µs", f"{other * 1e6:.0f} µs by boto3", mine / other, at_most=1.5)


def _measured(candidate: Write, names: Iterator[int]) -> Callable[[], Mapping[str, float]]:
    make, write = candidate

    def measure() -> Mapping[str, float]:
        made = [make(f"n{next(names)}") for _ in range(WRITES)]
        wall, cpu = time.perf_counter(), time.process_time()
        for one in made:
            write(one)
        return {"cpu": (time.process_time() - cpu) / WRITES, "wall": (time.perf_counter() - wall) / WRITES}

    return measure


@contextmanager
def _candidates() -> Iterator[dict[str, Write]]:
    import boto3

    from greenlight.ledger.dynamodb.client import Dynamo
    from support.dynamodb import Table

    os.environ.setdefault("AWS_DEFAULT_REGION", os.environ["AWS_REGION"])
    table = Table()
    dynamo, ledger = Dynamo(table.service, table.name), table.ledger(clock=HandClock().now)
    client = boto3.client("dynamodb")
    row = dumps(_fact("x"))[:600]
    body = (row * 12).encode()

    def item(name: str) -> dict[str, Any]:
        return {"pk": {"S": name}, "sk": {"S": "-"}, "v": {"N": "1"}, "j": {"S": row}}

    def plain(item: dict[str, Any]) -> None:
        client.put_item(
            TableName=table.name,
            Item=item,
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )

    def four(name: str) -> None:
        parts = [{"Put": {"TableName": table.name, "Item": item(f"boto3 {name} {n}")}} for n in range(4)]
        parts[0]["Put"]["ConditionExpression"] = "attribute_not_exists(pk)"
        client.transact_write_items(TransactItems=parts, ClientRequestToken=str(uuid.uuid4()))

    yield {
        "ours, one item": (lambda name: item(f"ours {name}"), dynamo.put_first),
        "boto3, one item": (lambda name: item(f"boto3 {name}"), plain),
        "ours, a fact accepted": (
            lambda name: (_fact(name), a_due(name)),
            lambda it: ledger.accept(it[0], body, it[1]),
        ),
        "boto3, the same four items": (str, four),
    }
    table.delete()


def _fact(name: str) -> Fact:
    """A push, as the webhooks make one."""
    return a_fact(name, push=a_push(name), people=("lena@acme.example", "login:acme-developer"), tree="0" * 40)
