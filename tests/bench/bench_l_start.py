"""L: start -> ready, with an empty ledger and with 100 000 commits in it; beside the bare interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from support.flow import REPO, START, Shop, sha_of
from support.process import Up

ROWS = ("L",)
COMMITS = 100_000
ROUNDS = 5


def main() -> None:
    """Print the medians of five starts each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Shop(folder).stop()
        bare = [_bare() for _ in range(ROUNDS)]
        empty = [_start(folder) for _ in range(ROUNDS)]
        _fill(folder)
        full = [_start(folder) for _ in range(ROUNDS)]
    for title, values in (("bare interpreter", bare), ("empty ledger", empty), (f"{COMMITS} commits", full)):
        print(f"  {title:20} median {statistics.median(values):.3f} s   worst {max(values):.3f} s")
    print("  goal: <= 1.2 s, and <= 3 s with 100 000 commits")


def _bare() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - start


def _start(folder: Path) -> float:
    up = Up(folder)
    answer = up.http.request("GET", f"{up.board}/readyz")
    took = time.perf_counter() - up.started
    assert answer.status == 200
    up.stop()
    return took


def _fill(folder: Path) -> None:
    """Records, pushes and journal entries for 100 000 commits, through the ledger's own port."""
    from greenlight.ledger.port import Transaction
    from greenlight.model.rows import DecisionRow, NewEntry, Push, Record

    shop = Shop(folder)
    ledger = shop.greenlight.ledger
    for first in range(0, COMMITS, 1000):
        records, pushes, decisions, entries = [], [], [], []
        for n in range(first, first + 1000):
            sha, at = sha_of(f"old {n}"), START - timedelta(seconds=COMMITS - n)
            push = Push(REPO, "refs/heads/main", sha, sha_of(f"old {n - 1}"), at, at, f"fact {n}")
            pushes.append(push)
            records.append(Record(REPO, sha, pushes={push.ref: push}, updated=at))
            decisions.append(DecisionRow("shop", "staging", REPO, sha, "superseded", ("older",), at, "sha256:0", push))
            entries.append(
                NewEntry(f"commit/{REPO}/{sha}", "com.github.push", at, f"fact {n}", {"sha": sha}, REPO, sha)
            )
        ledger.transact(Transaction(records=records, pushes=pushes, decisions=decisions, entries=entries))
    shop.stop()
