"""Whatever happens in whatever order, the invariants hold: stories of seeded dice through real handlers and a real ledger."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from greenlight.ledger.dynamodb import DynamoLedger
from support_dynamodb import MISSING, Damaged, Fault, Lag, Lost, NotSent, Says, Table, no_pause, way
from support_simulation import Clock, play

ENOUGH = 4.0
"""Seconds of new stories in a run of the tests."""


@pytest.mark.parametrize("seed", [3, 10, 12, 1025, 1030, 1173647380])
def test_a_story_that_once_went_wrong_goes_right(seed: int, tmp_path: Path) -> None:
    """What runs was pushed again, to a ref that was then deleted, too; a fact was due for ever; a decision was left as it
    was before an edit."""
    world = play(seed, tmp_path)
    assert world.violations == [], "\n".join(world.log)


def test_no_sequence_of_events_crashes_and_actions_breaks_an_invariant(tmp_path: Path) -> None:
    """At least one story, then as many as there is time for; the same ones each time, unless SIMULATION_SEED says others."""
    seeds = random.Random(int(os.environ.get("SIMULATION_SEED", "2026")))
    deadline = time.monotonic() + ENOUGH
    while True:
        seed = seeds.randrange(1 << 32)
        print(f"seed {seed}")
        world = play(seed, tmp_path)
        assert world.violations == [], f"seed {seed}\n" + "\n".join(world.log)
        if time.monotonic() > deadline:
            break


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("seed", [3, 1173647380])
def test_stories_go_right_on_dynamodb_too(seed: int, tmp_path: Path) -> None:
    """The same handlers, faults and dice."""
    table = Table()
    world = play(seed, tmp_path, steps=60, dynamo=lambda clock: table.ledger(clock=clock.now))
    table.delete()
    assert world.violations == [], "\n".join(world.log)


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_story_goes_right_where_every_third_request_to_dynamodb_goes_wrong(tmp_path: Path) -> None:
    """Done and not heard of, damaged, not arrived, throttled, somebody in the way: each effect is there once all the same."""
    dice, table = random.Random(5), Table()
    in_the_way = {"CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}]}
    with way() as road:

        def luck() -> Fault | None:
            busy: list[Fault] = [Says(500, "InternalServerError"), Says(400, "ThrottlingException")]
            conflict = Says(400, "TransactionCanceledException", **in_the_way)
            faults = [Lost(), NotSent(), Damaged(), conflict, *busy]
            return dice.choice(faults) if dice.random() < 0.33 else None

        road.luck = luck
        world = play(
            7,
            tmp_path,
            steps=40,
            dynamo=lambda clock: table.ledger(clock=clock.now, through=road.address, pause=no_pause),
        )
    table.delete()
    assert world.violations == [], "\n".join(world.log)
    assert world.driver.starts, "a story in which nothing was deployed"


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("seed", [11])
def test_a_story_goes_right_where_indexes_lag_behind(seed: int, tmp_path: Path) -> None:
    """As AWS promises them, and DynamoDB Local's never do: hints come late or once too often, and no more than that."""
    table = Table()
    with way() as road:
        road.lag = Lag(random.Random(seed), most=60)

        def lagging(clock: Clock) -> DynamoLedger:
            ledger = table.ledger(clock=clock.now, through=road.address)
            # The checks look deployments up in their listing, which lags for people only: no handler reads it.
            ledger.deployments = table.ledger(clock=clock.now).deployments  # type: ignore[method-assign]
            return ledger

        world = play(seed, tmp_path, steps=60, dynamo=lagging)
        assert road.lag.late > 100
    table.delete()
    assert world.violations == [], "\n".join(world.log)
    assert world.driver.starts, "a story in which nothing was deployed"
