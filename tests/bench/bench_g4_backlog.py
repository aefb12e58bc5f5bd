"""G4, G5: a million events that a dead subscriber did not take: what that costs the others, memory and the next start."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Row, RunningBroker, broker, free, interleaved, load, ms, resident

from greenlight.broker import log
from greenlight.broker.log import cursor_table, event_table
from greenlight.broker.log.stored_event import StoredEvent, prepare
from greenlight.events import Event
from greenlight.lib.clock import SystemClock
from greenlight.store import Store, Tx

ROWS = ("G4", "G5")
EVENTS = 1_000_000
PACE = 100  # events per second
SECONDS = 3
STARTS = 3


def main() -> list[Row]:
    """Two brokers side by side, one with the backlog; the one that is not being measured is stopped by SIGSTOP."""
    port, dead = free(), free()
    with tempfile.TemporaryDirectory() as name:
        empty, full = Path(name, "empty"), Path(name, "full")
        start = time.monotonic()
        _fill(full / "data")
        print(f"  {EVENTS} events written in {time.monotonic() - start:.0f} s", flush=True)
        starts = {"without": _starts(empty, _manifests(port, dead)), "with": _starts(full, _manifests(port, dead))}
        with broker(empty, _manifests(port, dead)) as without, broker(full, _manifests(port, dead)) as backlog:
            before = resident(backlog.pid)
            found = interleaved(
                {
                    "without": lambda: _measured(without, backlog, port),
                    "with": lambda: _measured(backlog, without, port),
                }
            )
            grown = resident(backlog.pid) - before
            os.kill(without.pid, signal.SIGCONT)
            sizes = resident(backlog.pid), resident(without.pid)
    print(f"  memory: {sizes[0]:.0f} MB with the backlog, {grown:+.1f} MB since the start; {sizes[1]:.0f} MB without")
    p50 = {which: figures["p50"] for which, figures in found.items()}
    p99 = {which: figures["p99"] for which, figures in found.items()}
    return [
        Row("G4", f"p50 of another subscriber, 10^6 events behind, {PACE}/s", ms(p50["with"]), ms(p50["without"]),
            p50["with"] / p50["without"], at_most=1.2),
        Row("G4", f"p99 of another subscriber, 10^6 events behind, {PACE}/s", ms(p99["with"]), ms(p99["without"]),
            p99["with"] / p99["without"], at_most=1.5),
        Row("G4", "memory with 10^6 events behind", f"{sizes[0]:.0f} MB", f"{sizes[1]:.0f} MB", sizes[0] / sizes[1],
            at_most=1.2),
        Row("G5", "start with 10^6 events in the log (at most 1 s)", f"{starts['with']:.2f} s",
            f"{starts['without']:.2f} s", starts["with"] / 1.0, at_most=1.0, note="the ratio is to 1 s; baseline: empty log"),
    ]  # fmt: skip


def _starts(folder: Path, manifests: str) -> float:
    """The median time from the process's start until it is ready."""
    folder.mkdir(exist_ok=True)
    seconds = []
    for _ in range(STARTS):
        with broker(folder, manifests) as one:
            seconds.append(one.seconds)
    return sorted(seconds)[STARTS // 2]


def _measured(which: RunningBroker, other: RunningBroker, port: int) -> dict[str, float]:
    with _stopped(other.pid):
        at = ("-url", which.url, "-listen", f"127.0.0.1:{port}")
        figures = load("broker", *at, "-events", PACE * SECONDS, "-rate", PACE, "-producers", 4)
    assert not figures["lost"], f"{figures['lost']:.0f} events did not arrive"
    return figures


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _manifests(port: int, dead: int) -> str:
    """One subscriber that answers; one whose port nobody listens on, with retries that go on for hours."""
    return f"""
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {{name: default, namespace: bench}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: alive, namespace: bench}}
spec:
  broker: default
  filter: {{attributes: {{type: bench.happened}}}}
  subscriber: {{uri: "http://127.0.0.1:{port}/"}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: dead, namespace: bench}}
spec:
  broker: default
  filter: {{attributes: {{type: bench.old}}}}
  delivery: {{retry: 20, backoffPolicy: exponential, backoffDelay: PT1S}}
  subscriber: {{uri: "http://127.0.0.1:{dead}/"}}
"""


def _fill(data: Path) -> None:
    """The log as a broker leaves it whose subscriber has been dead for a million events; straight into its tables."""
    store = Store(data / "broker.db", [log.SCHEMA], synchronous="NORMAL")
    event = Event("old", "/bench", "bench.old", data=b'{"text":"' + b"x" * 89 + b'"}')
    prepared = prepare(StoredEvent(event), SystemClock())

    def first(tx: Tx) -> int:
        cursor_table.register(tx, "bench/dead", "bench/default", {})
        return event_table.insert(tx, "bench/default", prepared.row, prepared.at)

    store.write(first)
    with store.read() as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(broker_events)") if row[1] != "seq"]
        (size,) = connection.execute("SELECT upto FROM broker_events").fetchone()
    values = ", ".join("upto + ?" if column == "upto" else column for column in columns)
    copy = f"INSERT INTO broker_events ({', '.join(columns)}) SELECT {values} FROM broker_events WHERE seq <= ? ORDER BY seq"
    have = 1
    while have < EVENTS:
        more = min(have, EVENTS - have)
        store.write(lambda tx, have=have, more=more: tx.execute(copy, (have * size, more)))  # type: ignore[misc]
        have += more
    store.close()
