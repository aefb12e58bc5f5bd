"""Stories on DynamoDB: the same rules, on the other ledger, on the way to which everything may go wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from simulator.story import Story, written

from greenlight.ledger.dynamodb.ledger import DynamoLedger
from support.dynamodb import MISSING, Damaged, Fault, Lag, Lost, NotSent, Says, Table, no_pause, way

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def table() -> Iterator[Table]:
    """A table of the test's own."""
    table = Table()
    yield table
    table.delete()


def _right(story: Story) -> None:
    assert story.violations == [], "\n".join(story.log)
    assert story.world is not None
    assert story.world.site.commands, "a story in which nothing was deployed"


@pytest.mark.parametrize("seed", [3, 11, 1173647380])
def test_stories_go_right_on_dynamodb_too(seed: int, table: Table) -> None:
    """The same services, faults and dice."""
    _right(written(seed, steps=40, ledger=lambda now: table.ledger(clock=now)))


def test_a_story_goes_right_where_every_third_request_to_dynamodb_goes_wrong(table: Table) -> None:
    """Done and not heard of, damaged, not arrived, throttled, somebody in the way: each effect is there once all the same."""
    dice = random.Random(5)
    in_the_way = {"CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}]}
    with way() as road:

        def luck() -> Fault | None:
            busy: list[Fault] = [Says(500, "InternalServerError"), Says(400, "ThrottlingException")]
            conflict = Says(400, "TransactionCanceledException", **in_the_way)
            faults = [Lost(), NotSent(), Damaged(), conflict, *busy]
            return dice.choice(faults) if dice.random() < 0.33 else None

        road.luck = luck
        _right(written(3, steps=30, ledger=_through(table, road.address)))


def _through(table: Table, address: str) -> Callable[[Callable[[], datetime]], DynamoLedger]:
    return lambda now: table.ledger(clock=now, through=address, pause=no_pause)


def test_a_story_goes_right_where_indexes_lag_behind(table: Table) -> None:
    """As AWS promises them, and DynamoDB Local's never do: hints come late or once too often, and no more than that."""
    with way() as road:
        road.lag = Lag(random.Random(11), most=60)
        _right(written(3, steps=80, ledger=lambda now: table.ledger(clock=now, through=road.address)))
        assert road.lag.late > 100
