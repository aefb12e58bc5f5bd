"""What a shipped commit costs `greenlight up`, in counts that are the same on every machine.

MOST has the limits. After a change that makes a commit cheaper, run this test with `pytest -s`: it prints what a commit costs
now. Write these numbers into MOST, so that the gain stays. `make profile` shows what a commit costs in time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from greenlight.broker import cursor_writer
from greenlight.broker.log import event_table
from greenlight.service import arrivals
from greenlight.telemetry import keeping
from support.counting import Statements, counted
from support.flow import Shop, sha_of
from support.in_process import deploy_in_process

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cost:
    """What one commit costs, from its push until it is deployed and nothing more follows."""

    reads: int  # SELECTs
    writes: int  # INSERTs, UPDATEs, DELETEs
    transactions: int  # COMMITs: an fsync each
    events: int  # in the Broker's log


MOST = Cost(reads=13, writes=37, transactions=3, events=6)
"""The limits: what a commit costs now."""

COMMITS = 4
"""Commits that are counted, one after the other, after one that warms up."""

PIPELINE = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates:
      build: {circleci: {workflow: build-test}}
    environments:
      - name: production
        require: [build]
        deploy: {command: {run: ["true"]}}
"""


def test_a_shipped_commit_costs_no_more_than_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push, a build, one environment, a driver that ends at once; each is over before the next begins."""
    # Cursors, spans and kept arrivals are written a moment later, many at once, so the number depends on the machine.
    # Here: at the end.
    monkeypatch.setattr(cursor_writer, "DELAY", 3600.0)
    monkeypatch.setattr(keeping, "DELAY", 3600.0)
    monkeypatch.setattr(arrivals, "ALONE", 3600.0)
    with deploy_in_process(), counted() as statements:
        shop = Shop(tmp_path, pipeline=PIPELINE)
        monkeypatch.setattr(shop.greenlight.ticker, "start", lambda: None)  # it reads what is due as time passes
        shop.start()
        _ship(shop, 0)
        costs = [_cost(shop, statements, number) for number in range(1, COMMITS + 1)]
        shop.stop()
    print(f"\nof each commit: {costs}")
    for name, most in vars(MOST).items():
        found = [getattr(cost, name) for cost in costs]
        assert max(found) <= most, f"{name} of a commit: {found}, and at most {most} are allowed"
        assert min(found) > 0, f"no {name} were counted: {found}"


def test_make_profile_finds_every_function_that_it_times() -> None:
    """A function that was renamed or removed needs its table in tests/bench/profile_process.py to be corrected."""
    code = "import contextlib, profile_process; profile_process.time_parts(contextlib.ExitStack())"
    folders = [TESTS.parent / "services", TESTS, TESTS / "bench"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _ship(shop: Shop, number: int) -> None:
    shop.push(f"commit {number}", before=f"commit {number - 1}")
    shop.settle()
    shop.build(f"commit {number}", number=number + 1)
    assert shop.watch.end("production", sha_of(f"commit {number}"))["outcome"] == "succeeded"
    shop.settle()


def _cost(shop: Shop, statements: Statements, number: int) -> Cost:
    before = _last_event(shop)
    statements.take()
    _ship(shop, number)
    counts = statements.take()
    return Cost(counts.reads, counts.writes, counts.transactions, _last_event(shop) - before)


def _last_event(shop: Shop) -> int:
    with shop.greenlight.store.read() as connection:
        return event_table.last(connection.execute)
