"""H: the board with 10 000 commits and 51 targets, beside a bare Flask page; what a refresh costs, and its size."""

from __future__ import annotations

import gzip
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from measure import Row, ms
from werkzeug.test import Client

from greenlight.entrypoints.compose import Folders, Greenlight
from greenlight.ledger.port import Ledger, Transaction
from greenlight.model.rows import Attempt, DecisionRow, Fact, Push, Record, Running, Target, Title
from support.flow import sha_of
from support.ledger import a_due, a_fact

ROWS = ("H", "H2", "H3")
APPLICATIONS, ENVIRONMENTS, COMMITS = 17, ("dev", "staging", "production"), 10_000
BEHIND = {"dev": 0, "staging": 3, "production": 8}
ROUNDS = 60
PAGE = "<!doctype html><title>{{ title }}</title><ul>{% for it in rows %}<li>{{ it }}</li>{% endfor %}</ul>"
STATIC = ("board.css", "board.js", "vendor/htmx.min.js", "vendor/idiomorph-ext.min.js", "mark.svg")


def main() -> list[Row]:
    """Each in one process: the page as it is asked for again and again, with and without a change in between."""
    with _board() as (client, ledger):
        bare = _bare()
        first = client.get("/", headers={"Accept-Encoding": "gzip"})
        etag = first.headers["ETag"]
        floor = _cpu(lambda: bare.get("/"))
        kept = _cpu(lambda: client.get("/"))
        unchanged = _cpu(lambda: client.get("/?part", headers={"If-None-Match": etag}))
        numbers = iter(range(ROUNDS * 2))
        taken = sorted(_after_a_change(client, ledger, next(numbers)) for _ in range(ROUNDS))
        part = client.get("/?part", headers={"Accept-Encoding": "gzip"})
        load = len(first.data) + sum(len(gzip.compress(client.get(f"/static/{name}").data)) for name in STATIC)
        print(f"  first load {load / 1024:.1f} KiB (wanted: 60), refresh {len(part.data) / 1024:.1f} KiB (wanted: 10)")
        print(f"  after a change: p50 {ms(statistics.median(taken))}, p95 {ms(taken[int(len(taken) * 0.95)])} (100 ms)")
        print(f"  200 tabs that ask every 2 s: {unchanged * 100:.3f} of a core (wanted: 0.1)")
    return [
        Row("H", "CPU of the board's page, by a bare Flask page", ms(kept), ms(floor), kept / floor, at_most=3.0),
        Row("H2", "CPU of a refresh without a change, of 2 ms", ms(unchanged), "2 ms", unchanged / 0.002, at_most=1.0),
        Row("H3", "the page after a change, p95, of 100 ms", ms(taken[int(len(taken) * 0.95)]), "100 ms",
            taken[int(len(taken) * 0.95)] / 0.1, at_most=1.0),
    ]  # fmt: skip


def _cpu(what: Callable[[], Any]) -> float:
    """Seconds of CPU that one takes."""
    what()
    start = time.process_time()
    for _ in range(ROUNDS):
        what()
    return (time.process_time() - start) / ROUNDS


def _after_a_change(client: Client, ledger: Ledger, number: int) -> float:
    """Seconds that the page takes when something was accepted since it was made."""
    assert ledger.accept(a_fact(f"new {number}"), None, a_due())
    start = time.perf_counter()
    assert client.get("/").status_code == 200
    return time.perf_counter() - start


def _bare() -> Client:
    app = Flask("bare")
    rows, page = [f"commit {n}" for n in range(50)], app.jinja_env.from_string(PAGE)

    @app.get("/")
    def index() -> str:
        return page.render(title="Bare", rows=rows)

    return Client(app)


@contextmanager
def _board() -> Iterator[tuple[Client, Ledger]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config").mkdir()
        (folder / "secrets").mkdir()
        (folder / "secrets" / "github").write_text("secret\n")
        (folder / "secrets" / "gate-scan").write_text("whsec_c2VjcmV0IG9mIHRoZSBiZW5jaG1hcms=\n")
        (folder / "config" / "people.yaml").write_text("people: {}\n")
        (folder / "config" / "pipeline.yaml").write_text(json.dumps(_pipeline()))
        log = logging.getLogger("greenlight")
        log.addHandler(logging.NullHandler())
        log.propagate = False
        greenlight = Greenlight(
            Folders(folder / "config", folder / "data", folder / "secrets"), open_reads=True, log=log
        )
        try:
            for number in range(APPLICATIONS):
                _fill(greenlight.ledger, f"shop-{number}", COMMITS // APPLICATIONS)
            yield Client(greenlight.apps["board"]), greenlight.ledger
        finally:
            greenlight.stop(timeout=5)


def _pipeline() -> dict[str, Any]:
    applications = [
        {
            "name": f"shop-{number}",
            "repo": f"acme/shop-{number}",
            "branches": ["main"],
            "operators": ["release"],
            "gates": {"scan": {"webhook": "scan"}, "legal": {"approval": {"groups": ["legal"], "not": "author"}}},
            "environments": [
                {
                    "name": name,
                    "require": ["scan", "legal"] if name == "production" else ["scan"],
                    "after": list(ENVIRONMENTS[: ENVIRONMENTS.index(name)][-1:]),
                    "deploy": {"command": {"run": ["true"]}},
                }
                for name in ENVIRONMENTS
            ],
        }
        for number in range(APPLICATIONS)
    ]
    return {"apiVersion": "greenlight/v1", "kind": "Pipeline", "applications": applications}


def _attempts(name: str, push: Push, place: int) -> dict[str, Attempt]:
    """The deployments of the commit that so many were pushed after, itself included."""
    return {
        f"{name}/{environment}": Attempt(f"d {push.fact}", 1, "succeeded", "automatic", push.arrived, push.arrived,
                                         push=push.fact, succeeded_at=push.arrived)
        for environment, behind in BEHIND.items()
        if place > behind
    }  # fmt: skip


def _fill(ledger: Ledger, name: str, count: int) -> None:
    """Have the ledger know so many commits, of which each environment runs one of the last."""
    repo, start = f"acme/{name}", datetime.now(UTC) - timedelta(days=30)
    pushes, before = [], None
    for n in range(count):
        at, sha = start + timedelta(minutes=n), sha_of(f"{name} {n}")
        pushes.append(Push(repo, "refs/heads/main", sha, before, at, at, f"{name} {n}"))
        before = sha
    for begin in range(0, count, 100):
        those = pushes[begin : begin + 100]
        records = [
            Record(
                repo, it.sha, pushes={it.ref: it}, updated=it.arrived, attempts=_attempts(name, it, count - begin - n)
            )
            for n, it in enumerate(those)
        ]
        ledger.transact(Transaction(records=records, pushes=those))
        titles = tuple(Title(it.sha, f"Change {it.fact} of the shop", "Dana Developer") for it in those)
        fact: Fact = replace(a_fact(f"{name} {begin}", titles=titles), repo=repo)
        assert ledger.accept(fact, None, a_due(f"{name} {begin}"))
    for environment, behind in BEHIND.items():
        runs = pushes[-1 - behind]
        running = Running(runs.sha, f"d {name}", runs.arrived, runs)
        ledger.transact(Transaction(targets=[Target(name, environment, repo, running=running, newest=runs)]))
        ledger.transact(Transaction(decisions=[
            DecisionRow(name, environment, repo, it.sha, "waiting", ("scan",), it.arrived, "sha256:0", it)
            for it in pushes[len(pushes) - behind :]
        ]))  # fmt: skip
