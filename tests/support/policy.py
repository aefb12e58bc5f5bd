"""Builders for policies, facts, pushes and records: an application `shop` of acme/shop, and minutes since a start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.events import Event
from greenlight.events.ids import identity
from greenlight.model.freezes import TargetFreeze
from greenlight.model.policy import Pipeline, Policy, Situation
from greenlight.model.rows import Approval, Attempt, Fact, Order, Push, Record, Request, Running, Target
from greenlight.policy import load, signals
from greenlight.policy.history import History
from greenlight.recorder.domain import fold

REPO = "acme/shop"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MAIN = "refs/heads/main"
BUILD = signals.circleci_workflow("build-test")
SCAN = signals.webhook("scan")

# Its lines are counted by the tests of what is wrong with it.
GOOD = """\
apiVersion: greenlight/v1
kind: Pipeline
clusters:
  prod: {eks: {name: shop-prod, region: eu-west-1}}
applications:
  - name: shop
    repo: Acme/Shop
    branches: [main]
    circleci: {project: 3F2A1B4C-0000-4000-8000-000000000000}
    gates:
      tests: {github-check: {name: test, app: github-actions}}
      scan: {webhook: scan, max-age: 1d12h}
      custom: {event: com.example.scan, sender: lab, where: {severity: none}}
      legal: {approval: {groups: [legal], count: 2, not: author, expires: 14d}}
    environments:
      - name: staging
        require: [tests]
        deploy: {helm: {cluster: prod, chart: charts/shop, release: shop, namespace: staging, values: {tag: "${sha}"}}}
      - name: production
        after: [staging]
        require: [tests, scan, legal]
        deploy: {command: {run: [./deploy.sh, "--wait"], timeout: 1h}}
"""

GATES = """
      build: {circleci: {workflow: build-test}}
      anywhere: {circleci: {workflow: build-test}, any-branch: true}
      check: {github-check: {name: test, app: github-actions}}
      scan: {webhook: scan, max-age: 7d}
      custom: {event: com.example.scan, where: {severity: none}}
      seen: {event: com.example.seen, sender: lab}
      legal: {approval: {groups: [legal], not: author, expires: 14d}}
      board: {approval: {groups: [legal, board], count: 2}}
      review: {github-review: {count: 1, not: author}}
"""


def parse(files: Mapping[str, str], directory: Path) -> Pipeline:
    """Return the pipeline that texts of files describe, which may deploy by any driver."""
    return load.parse(files, directory, DRIVERS)


def minute(after: float) -> datetime:
    """Return the time so many minutes after the start."""
    return START + timedelta(minutes=after)


def sha(number: int) -> str:
    """Return a commit's id."""
    return f"{number:040x}"


def policy(
    require: Iterable[str] = (),
    *,
    ships: str = "branches: [main]",
    values: str = "",
    after: str = "",
    promote: str = "automatic",
    freeze: str = "",
) -> Policy:
    """Make the application shop with an environment production that requires some of GATES, and an environment staging."""
    driver = (
        f"helm: {{cluster: prod, chart: chart, release: shop, namespace: shop, values: {values}}}"
        if values
        else "command: {run: [./deploy.sh]}"
    )
    more = "\n      ".join(
        f"- {{name: {name}, require: [], deploy: {{command: {{run: [./deploy.sh]}}}}}}"
        for name in ("qa", "pre")
        if name in after
    )
    text = f"""
apiVersion: greenlight/v1
kind: Pipeline
clusters: {{prod: {{in-cluster: true}}}}
applications:
  - name: shop
    repo: {REPO}
    {ships}
    gates: {GATES}
    environments:
      - {{name: staging, require: [], deploy: {{command: {{run: [./deploy.sh]}}}}}}
      {more}
      - name: production
        require: [{", ".join(require)}]
        after: [{after}]
        promote: {promote}
        freeze: [{freeze}]
        deploy: {{{driver}}}
"""
    return parse({"pipeline.yaml": text}, Path("config")).applications["shop"]


def fact(commit: str = sha(1), type: str = "com.example.fact", *, id: str = "f", at: float = 0, **rest: Any) -> Fact:
    """Make a fact about a commit, accepted when it happened."""
    event = Event(id=id, source="test", type=type)
    return Fact(event, REPO, commit, at=minute(at), accepted=minute(at), **rest)


def heard(
    signal: str, outcome: str, *, at: float = 0, order: Order | None = None, ref: str | None = MAIN, **rest: Any
) -> Fact:
    """Make a fact that can open a gate."""
    order = (int(at),) if order is None else order
    id = rest.pop("id", f"{signal}/{outcome}/{at}/{order}/{ref}")
    return fact(id=id, at=at, signal=signal, outcome=outcome, order=order, refs=(ref,) if ref else (), **rest)


def word(
    person: str, gate: str = "legal", *, at: float = 0, granted: bool = True, groups: Iterable[str] = ("legal",)
) -> Fact:
    """Make a person's approval, or its revocation, with the login that they have at GitHub."""
    details = {
        "application": "shop",
        "gate": gate,
        "person": person,
        "groups": list(groups),
        "identities": [identity("github", person)],
        "comment": None if granted else "no",
    }
    kind = "approval.granted" if granted else "approval.revoked"
    return fact(type=kind, id=f"{kind}/{gate}/{person}/{at}", at=at, details=details)


def push(commit: str = sha(1), *, at: float = 0, ref: str = MAIN, by: str = "ann", **rest: Any) -> Push:
    """Make a push by one person."""
    values: dict[str, Any] = {"before": None, "arrived": minute(at), "fact": f"push/{ref}/{commit}/{at}", **rest}
    return Push(REPO, ref, commit, pushed_at=minute(at), people=(identity("github", by),), **values)


def pushed(of: Push) -> Fact:
    """Make the fact of a push."""
    return fact(of.sha, "com.github.push", id=of.fact, at=(of.pushed_at - START).total_seconds() / 60, push=of)


def recorded(*facts: Fact, commit: str = sha(1), attempts: Mapping[str, Attempt] | None = None) -> Record:
    """Return the record of a commit once some facts were folded into it."""
    record = Record(REPO, commit, attempts={f"shop/{name}": it for name, it in (attempts or {}).items()})
    for one in facts:
        record = fold(record, one)
    return record


def attempt(
    outcome: str, *, at: float = 5, of: Push | None = None, succeeded: float | None = None, **rest: Any
) -> Attempt:
    """Make a deployment of a commit."""
    when = minute(succeeded) if succeeded is not None else None
    known = of.fact if of else None
    return Attempt("d1", 0, outcome, "automatic", minute(at), push=known, succeeded_at=when, **rest)


def target(runs: Push | None = None, newest: Push | None = None, **rest: Any) -> Target:
    """Make the target production, running the commit of a push."""
    running = Running(runs.sha, "d0", runs.pushed_at, runs) if runs else None
    return Target("shop", "production", REPO, running=running, newest=newest or runs, **rest)


def situation(
    of: Policy,
    record: Record,
    at: Target | None = None,
    pushes: Iterable[Push] = (),
    now: datetime = START,
    *,
    environment: str = "production",
) -> Situation:
    """Make the situation of a commit in a target of the application, by default one where nothing was done yet."""
    return Situation(of, of.environments[environment], record, of.target(environment, at), History.of(pushes), now)


def request(
    kind: str = "deploy", commit: str = sha(1), *, at: float = 10, by: str = "lena", lasts: float = 240
) -> Request:
    """Make a person's request for a deployment, which waits for that many minutes."""
    return Request(kind, commit, by, minute(at), minute(at + lasts), f"request/{kind}/{commit}/{at}", "because")


def freeze(begins: float, until: float, *, by: str = "omar", reason: str = "sale", excepted: str = "") -> TargetFreeze:
    """Make a person's freeze of a target, from a minute to another."""
    groups = tuple(excepted.split())
    asked = minute(begins - 1)
    return TargetFreeze(f"freeze/{begins}/{until}", by, reason, minute(begins), minute(until), asked, groups)


def approvals(record: Record, gate: str = "legal") -> Mapping[str, Approval]:
    """Return the votes at a gate, by person."""
    return record.approvals.get(f"shop/{gate}", {})
