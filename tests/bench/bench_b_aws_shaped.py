"""B: build webhook sent -> deploy command started; beside a plain AWS-shaped build of the same flow, whose services poll."""

from __future__ import annotations

import contextlib
import math
import os
import random
import select
import signal
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import urllib3
from bench_a_webhook_to_command import greenlight, started
from measure import Missing, Row, answering, child, free, ms

from support.flow import REPO, Shop, sha_of
from support.process import signed

ROWS = ("B",)
ROUNDS = 3
PATIENCE = 20.0
SERVICES = ("webhooks", "recorder", "promoter", "deployer")
HANDS_ON = {"webhooks": "recorder", "promoter": "deployer"}
"""Who could post to whom, so that only the ledger's table is polled: a build that waits as little as this shape allows."""

Measure = Callable[[Sequence[int]], list[float]]
"""Promotes a commit for each number; the seconds that each took."""


def main() -> list[Row]:
    """p50 and p99 of each. They take turns, and the services of those whose turn it is not stand still."""
    if not os.environ.get("AWS_ENDPOINT_URL_DYNAMODB"):
        raise Missing('the baseline needs a DynamoDB: . "$(tests/cluster/cluster up dynamodb)"')
    print(
        f"  DynamoDB answers after {ms(_dynamodb_p50())}; after an hour's work it is slower: start it anew for true ratios"
    )
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def aws(poll: float, *, posts: bool) -> Measure:
            home = folder / f"{poll:g}-{posts}"
            home.mkdir()
            return stack.enter_context(_aws_shaped(home, poll, posts=posts))

        promotion = stack.enter_context(greenlight(folder))
        candidates: dict[str, tuple[Measure, int]] = {
            "Greenlight": (lambda numbers: [promotion(n) for n in numbers], 40),
            "each polls every 250 ms": (aws(0.25, posts=False), 6),
            "each polls every 10 ms": (aws(0.01, posts=False), 20),
            "one polls every 250 ms": (aws(0.25, posts=True), 5),
            "one polls every 10 ms": (aws(0.01, posts=True), 12),
        }
        taken: dict[str, list[float]] = {name: [] for name in candidates}
        for turn in range(ROUNDS):
            for name, (measure, count) in candidates.items():
                first, cold = turn * 1000, 1 if turn else count // 2
                taken[name] += measure(range(first, first + cold + count))[cold:]
    for name, times in taken.items():
        times.sort()
        p99 = times[math.ceil(len(times) * 0.99) - 1]
        print(f"  {name:24} p50 {ms(statistics.median(times)):>10}   p99 {ms(p99):>10}   n={len(times)}")
    p50 = {name: statistics.median(times) for name, times in taken.items()}
    ours = p50["Greenlight"]
    return [
        Row("B", f"webhook -> command, AWS-shaped, {each}", ms(ours), ms(p50[each]), p50[each] / ours, at_least=goal,
            note=f"{p50[one] / ours:.1f} if only {one}")
        for each, one, goal in (
            ("each polls every 250 ms", "one polls every 250 ms", 60),
            ("each polls every 10 ms", "one polls every 10 ms", 6),
        )
    ]  # fmt: skip


@contextlib.contextmanager
def _aws_shaped(folder: Path, poll: float, *, posts: bool) -> Iterator[Measure]:
    """The four services, with tables of their own. With `posts`, those that can be posted to do not poll."""
    from aws_shaped import shared

    Shop(folder).stop()  # its secrets
    reader, prefix = started(folder / "config"), f"bench-{uuid.uuid4()}"
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reader)
        shared.create_tables(prefix)
        stack.callback(shared.delete_tables, prefix)
        env = {"AWS_SHAPED_PREFIX": prefix, "AWS_SHAPED_FOLDER": str(folder / "config")}
        for sender in ("github", "circleci"):
            env[f"AWS_SHAPED_{sender.upper()}_SECRET"] = (folder / "secrets" / sender).read_text().strip()
        ports = {name: free() for name in SERVICES}
        hands_on = HANDS_ON if posts else {}
        log = stack.enter_context((folder / "log").open("ab"))
        groups = []
        for name in SERVICES:
            hears = {} if name == "webhooks" or name in hands_on.values() else {"AWS_SHAPED_POLL": str(poll)}
            tells = {"AWS_SHAPED_NEXT": f"http://127.0.0.1:{ports[hands_on[name]]}"} if name in hands_on else {}
            command = [sys.executable, "-m", "gunicorn", "-k", "gthread", "--threads", "8", "--no-control-socket"]
            command += ["--timeout", "0", "--keep-alive", "30", "--log-level", "warning"]
            command += ["-b", f"127.0.0.1:{ports[name]}", f"aws_shaped.{name}:create_app()"]
            process = stack.enter_context(
                child(*command, env=env | hears | tells, stdout=log, stderr=log, start_new_session=True)
            )
            groups.append(process.pid)
        stack.callback(_all, groups, signal.SIGKILL)  # they keep nothing; SIGTERM would not reach who stands still
        for port in ports.values():
            answering(port)
        records, deployments = (shared.table(name, prefix) for name in ("records", "deployments"))
        url, http = f"http://127.0.0.1:{ports['webhooks']}", urllib3.PoolManager(retries=False)
        chance = random.Random(1)

        def promotion(n: int) -> float:
            commit = f"{REPO}@{sha_of(f'commit {n}')}"
            _post(http, url, signed(folder, "push", f"commit {n}", at=n))
            _until(lambda: "push" in _row(records, commit), folder)
            request = signed(folder, "build", f"commit {n}", at=n)
            time.sleep(chance.uniform(0, poll))  # a webhook comes at any moment between two polls
            start = time.perf_counter()
            _post(http, url, request)
            if not select.select([reader], [], [], PATIENCE)[0]:
                raise _failed(folder)
            os.read(reader, 1)
            took = time.perf_counter() - start
            _until(lambda: _row(deployments, commit).get("state") == "succeeded", folder)
            return took

        def measure(numbers: Sequence[int]) -> list[float]:
            _all(groups, signal.SIGCONT)
            try:
                return [promotion(n) for n in numbers]
            finally:
                _all(groups, signal.SIGSTOP)

        _all(groups, signal.SIGSTOP)
        yield measure


def _dynamodb_p50() -> float:
    """Seconds that a GetItem takes now."""
    from aws_shaped import shared

    prefix, taken = f"bench-{uuid.uuid4()}", []
    shared.create_tables(prefix)
    for _ in range(100):
        start = time.perf_counter()
        _row(shared.table("records", prefix), "nobody")
        taken.append(time.perf_counter() - start)
    shared.delete_tables(prefix)
    return statistics.median(taken)


def _all(groups: Sequence[int], what: signal.Signals) -> None:
    for group in groups:
        os.killpg(group, what)


def _post(http: urllib3.PoolManager, url: str, request: tuple[str, str, bytes, dict[str, str]]) -> None:
    _, path, body, headers = request
    answer = http.request("POST", url + path, body=body, headers=headers)
    assert answer.status == 202, answer.data


def _row(table: Any, id: str) -> dict[str, Any]:
    return table.get_item(Key={"id": id}, ConsistentRead=True).get("Item", {})


def _until(seen: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not seen():
        if time.monotonic() > deadline:
            raise _failed(folder)
        time.sleep(0.01)


def _failed(folder: Path) -> RuntimeError:
    return RuntimeError(f"a commit got stuck in the AWS-shaped build: {(folder / 'log').read_text()[-3000:]}")
