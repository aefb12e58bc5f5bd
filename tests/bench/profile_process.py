"""A whole Greenlight that measures itself, for `make profile`. Arguments: a folder, and one of the words in MEASURES.

Prints the address of its webhooks, then `ship SHA` for each deployment that has succeeded. For a line on its standard input it
prints, once no event is in progress any more, `so far` and a line of JSON: what it has spent since it began.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import resource
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import stopwatch
from stopwatch import Stopwatch

from greenlight.broker.log import event_table
from greenlight.broker.outcomes import SubscriberResponse
from greenlight.broker.subscribers import LocalService
from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.entrypoints.compose import Folders, Greenlight, ThirdParties
from greenlight.events import Event, types
from support import counting
from support.in_process import deploy_in_process

PLAIN, PARTS, STATEMENTS, CALLS = MEASURES = "plain", "parts", "statements", "calls"
"""What is measured: nothing but the whole process; CPU by part; SQL; Python calls with SQL."""

COMMIT, GARBAGE = "COMMIT, CPU of its fsync included", "garbage collection"

FUNCTIONS = {
    "webhook": [
        "greenlight.service.server:Server._run",
        "greenlight.service.turns:Turns.handler_thread",
    ],
    "fact": [
        "greenlight.webhooks.providers.github:GitHub.fact",
        "greenlight.webhooks.providers.circleci:CircleCI.fact",
        "greenlight.recorder.domain:fold",
    ],
    "JSON": [
        "greenlight.lib.strictjson:loads",
        "greenlight.ledger.rows_json:dumps",
        "greenlight.ledger.rows_json:loads",
        "greenlight.events.event:Event.json",
    ],
    "events": [
        "greenlight.events.event:Event.of",
        "greenlight.events.build:about_commit",
        "greenlight.events.build:as_fact",
        "greenlight.broker.log.stored_event:prepare",
        "greenlight.broker.dispatcher:Dispatcher.append",
        "greenlight.broker.log.stored_event:from_row",
    ],
    "journal": [
        "greenlight.ledger.journal:portable_form",
        "greenlight.ledger.journal:link",
    ],
    "decide": [
        "greenlight.service.situations:situation",
        "greenlight.policy.decide:decide",
        "greenlight.promoter.domain:consider",
    ],
    "handlers": [
        "greenlight.service.handling:EventService.handle",
        "greenlight.deployer.app:begin",
    ],
    "chain": [
        "greenlight.service.chain:Chain._write",
    ],
    "ledger and store": [
        "greenlight.ledger.sqlite.ledger:SqliteLedger.store",
        "greenlight.ledger.overlay:Overlay.accept",
        "greenlight.ledger.overlay:Overlay.transact",
        "greenlight.ledger.overlay:Overlay.absorb",
        "greenlight.ledger.sqlite.rows:Rows.one",
        "greenlight.ledger.sqlite.rows:Rows.all",
        "greenlight.store.store:Store.write",
        "greenlight.store.store:Store.submit",
        "greenlight.store.store:Store._serve",
    ],
    "delivery": [
        "greenlight.broker.threads:ThreadPool._serve",
        "greenlight.broker.threads:Timer._run",
        "greenlight.broker.broker:Broker.hand_over",
        "greenlight.broker.dispatcher:Dispatcher._committed",
    ],
}
"""The functions in which a part begins. What they call belongs to it, up to the functions of another part."""

SQL = {
    counting.READS: "SQL reads",
    counting.WRITES: "SQL writes",
    counting.BEGINS: "SQL writes",
    counting.TRANSACTIONS: COMMIT,
    counting.OTHERS: "ledger and store",
}
"""The parts of statements, by their kind."""

PARTS_OF_A_COMMIT = [*dict.fromkeys([*FUNCTIONS, *SQL.values(), GARBAGE, stopwatch.REST])]


def say(line: str) -> None:
    """Print it in one write."""
    os.write(1, f"{line}\n".encode())


Figures = Callable[[], Mapping[str, Any]]


def measure_nothing(stack: ExitStack) -> Figures:
    """Measure nothing more."""
    return dict


def time_parts(stack: ExitStack) -> Figures:
    """Have the functions of all parts be timed. Raises LookupError if one of them is no longer there."""
    watch, waits = Stopwatch(), Counter[str]()
    watch.time_garbage(GARBAGE)
    for part, names in FUNCTIONS.items():
        for name in names:
            stopwatch.replace(name, lambda function, part=part: watch.timed(part, function))  # type: ignore[misc]
    _time_connections(stack, watch, waits)
    return lambda: {"parts": watch.so_far(), "commit_wall": waits[COMMIT] / 1e9}


def _time_connections(stack: ExitStack, watch: Stopwatch, waits: Counter[str]) -> None:
    """Time the statements of each connection from now on; in `waits`, by the wall clock, the COMMITs."""

    def run(connection: sqlite3.Connection, sql: str, *parameters: Any) -> sqlite3.Cursor:
        return connection.cursor(Cursor).execute(sql, *parameters)

    by_part = {part: watch.timed(part, run) for part in {*SQL.values()}}
    many, kinds = watch.timed("SQL writes", sqlite3.Connection.executemany), dict[str, str]()

    class Cursor(sqlite3.Cursor):
        fetchone = watch.timed("SQL reads", sqlite3.Cursor.fetchone)
        fetchmany = watch.timed("SQL reads", sqlite3.Cursor.fetchmany)
        fetchall = watch.timed("SQL reads", sqlite3.Cursor.fetchall)

    class Connection(sqlite3.Connection):
        executemany = many

        def execute(self, sql: str, *parameters: Any) -> Any:
            part = kinds.get(sql) or kinds.setdefault(sql, SQL[counting.kind_of(sql)])
            if part is not COMMIT:
                return by_part[part](self, sql, *parameters)
            before = time.perf_counter_ns()
            try:
                return by_part[part](self, sql, *parameters)
            finally:
                waits[COMMIT] += time.perf_counter_ns() - before  # one thread commits at a time

    connect = sqlite3.connect
    stack.enter_context(
        mock.patch.object(sqlite3, "connect", lambda *words, **options: connect(*words, **options, factory=Connection))
    )


def count_statements(stack: ExitStack) -> Figures:
    """Count SQLite's statements by their kind."""
    statements, total = stack.enter_context(counting.counted()), Counter[str]()

    def figures() -> Mapping[str, Any]:
        total.update(asdict(statements.take()))
        return {"statements": dict(total)}

    return figures


def count_calls(stack: ExitStack) -> Figures:
    """Count calls of Python functions, and statements."""
    counts: list[list[int]] = []

    def begin(frame: FrameType, event: str, argument: object) -> None:
        """Have this thread count from now on, in a list of its own."""
        mine = [int(event == "call")]
        counts.append(mine)

        def count(frame: FrameType, event: str, argument: object) -> None:
            if event == "call":
                mine[0] += 1

        sys.setprofile(count)

    threading.setprofile(begin)
    statements = count_statements(stack)
    return lambda: {"calls": sum(mine[0] for mine in counts), **statements()}


MEASURING = dict(zip(MEASURES, (measure_nothing, time_parts, count_statements, count_calls), strict=True))


def _ended(event: Event, path: str, headers: Mapping[str, str]) -> SubscriberResponse:
    """Print which commit an end is about."""
    say(f"ship {event.extensions['commit']}")
    return SubscriberResponse(202, {}, b"")


def main(folder: Path, measure: str) -> None:
    """Serve until the input ends."""
    with ExitStack() as stack:
        figures = MEASURING[measure](stack)
        stack.enter_context(deploy_in_process())
        trigger = replace(
            TriggerSpec.to_service("ended", "ended"),
            filter=lambda event: event.type == types.DEPLOYMENT_SUCCEEDED,
            required_values={"type": frozenset({types.DEPLOYMENT_SUCCEEDED})},
        )
        logging.getLogger("greenlight").addHandler(logging.NullHandler())
        greenlight = Greenlight(
            Folders(folder / "config", folder / "data", folder / "secrets"),
            open_reads=True,
            log=logging.getLogger("greenlight"),
            third_parties=ThirdParties([trigger], {"ended": LocalService(_ended)}),  # type: ignore[dict-item]
        )
        server = greenlight.serve_webhooks("127.0.0.1:0")
        gc.collect()
        gc.freeze()
        greenlight.start()
        server.start()
        say(str(server.address[1]))
        for _ in sys.stdin:
            if not greenlight.broker.idle(60):
                raise TimeoutError("events are still in progress after a minute")
            say(f"so far {json.dumps({**_process(), **figures(), 'events': _events(greenlight)})}")
        server.stop(5)
        greenlight.stop(5)


def _process() -> dict[str, float]:
    """Return what the whole process has spent."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": time.process_time(), "system": used.ru_stime, "waits": used.ru_nvcsw, "preempted": used.ru_nivcsw}


def _events(greenlight: Greenlight) -> int:
    with greenlight.store.read() as connection:
        return event_table.last(connection.execute)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
