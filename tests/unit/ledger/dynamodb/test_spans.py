"""Kept spans on DynamoDB: few requests, items that expire, and a trace that is one partition."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.dynamodb import MISSING, Table, no_pause, way
from support.ledger import HandClock

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def test_a_write_is_few_requests_of_items_that_expire() -> None:
    """25 parts a request; none is written again where DynamoDB has taken only some, for nobody waits for them."""
    table, clock = Table(), HandClock()
    with way() as road:
        spans = table.ledger(clock=clock.now, through=road.address, pause=no_pause).spans
        spans.keep([(f"{n:032x}", b"part") for n in range(60)], timedelta(days=3))
        assert [operation for operation, _ in road.asked] == ["BatchWriteItem"] * 3
        assert spans.of([f"{59:032x}"]) == [b"part"]
    items = table.dynamo.call("Scan", {"ConsistentRead": True})["Items"]
    table.delete()
    until = int((clock.now() + timedelta(days=3)).timestamp())
    assert [int(item["expires"]["N"]) for item in items] == [until] * 60
    assert {item["pk"]["S"] for item in items} == {f"spans#{n:032x}" for n in range(60)}
