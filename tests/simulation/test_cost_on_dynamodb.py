"""What one shipped commit costs on DynamoDB, and that docs/ledger-dynamodb.md says so.

Two counts. DynamoDB Local's own (ReturnConsumedCapacity), which rounds a transaction as a whole; and one by AWS's rules from
the requests: each item of a transaction is rounded up to 1 KB by itself and written twice; a read is rounded up to 4 KB; an
index's entry is written when it comes and when it goes.
"""

from __future__ import annotations

import logging
import math
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from greenlight.board import app as board
from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.ledger.port import Transaction
from greenlight.service.configuration import read_pipeline
from greenlight.service.people import People
from greenlight.service.secrets import Secrets
from greenlight.webhooks import app as webhooks
from greenlight.webhooks.providers.registry import FILES
from support.dynamodb import MISSING, Table, Way, way
from support.flow import REPO, TOKENS, Shop, sha_of
from support.process import signed
from support.simulation import NoPublisher, World

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

READS = frozenset({"GetItem", "BatchGetItem", "Query"})
PAGE = Path(__file__).parents[2] / "docs" / "ledger-dynamodb.md"


class Meter:
    """What DynamoDB Local says."""

    def __init__(self) -> None:
        self.read = self.written = 0.0

    def __call__(self, operation: str, where: str, units: float) -> None:
        if operation in READS:
            self.read += units
        else:
            self.written += units


class Bill:
    """The same by AWS's rules, from the requests in their order. Queries are taken from the meter: they are not of one item."""

    def __init__(self, road: Way, began: int = 0) -> None:
        """Of the requests from number `began` on."""
        self.items: dict[tuple[str, str], Mapping[str, Any]] = {}
        for n, (operation, document) in enumerate(road.asked):
            if n in (0, began):
                self.requests: Counter[str] = Counter()
                self.read, self.table, self.indexes = 0, 0, 0
            self.requests[operation] += 1
            self._count(operation, document)

    def _count(self, operation: str, document: Mapping[str, Any]) -> None:
        if operation == "TransactWriteItems":
            for part in document["TransactItems"]:
                ((kind, one),) = part.items()
                self._write(kind, one, times=2)
        elif operation in ("PutItem", "DeleteItem"):
            self._write(operation.removesuffix("Item"), document, times=1)
        elif operation == "BatchWriteItem":
            for requests in document["RequestItems"].values():
                for request in requests:
                    self._write("Delete", request["DeleteRequest"], times=1)
        elif operation == "GetItem":
            self._read(document["Key"])
        elif operation == "BatchGetItem":
            for asked in document["RequestItems"].values():
                for key in asked["Keys"]:
                    self._read(key)

    def _read(self, key: Mapping[str, Any]) -> None:
        self.read += max(1, math.ceil(_size(self.items.get(_key(key), {})) / 4096))

    def _write(self, kind: str, one: Mapping[str, Any], *, times: int) -> None:
        key = _key(one.get("Key") or one["Item"])
        old = self.items.get(key, {})
        new = old if kind in ("ConditionCheck", "Update") else {} if kind == "Delete" else one["Item"]
        self.table += times * max(1, math.ceil(max(_size(old), _size(new)) / 1024))
        for partition in ("q", "g"):
            was, now = ((it[partition], it["o"]) if partition in it else None for it in (old, new))
            self.indexes += (was != now) * ((was is not None) + (now is not None))
        self.items[key] = new


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _size(item: Mapping[str, Any]) -> int:
    """Bytes of an item, as "DynamoDB item sizes and formats" counts them."""
    return sum(len(name.encode()) + _value_size(*kind) for name, value in item.items() for kind in value.items())


def _value_size(kind: str, value: Any) -> int:
    if kind == "S":
        return len(value.encode())
    if kind == "B":
        return len(b64decode(value))
    return 1 if kind == "BOOL" else math.ceil(len(value) / 2) + 1  # a number


class Ship(World):
    """A world without faults, told by real webhooks, and by the board's API, about the shop of the flow tests."""

    def __init__(self, folder: Path, *args: Any) -> None:
        super().__init__(1, folder, *args)
        self.calm, self.folder, self.clock.time = True, folder, datetime.now(UTC)
        self.pipeline = read_pipeline(folder / "config", DRIVERS)
        log = logging.getLogger("simulation")
        base = self.clock, self.inner, lambda: self.pipeline, NoPublisher(), log
        people = People(folder / "config" / "people.yaml", clock=self.clock, log=log)
        self.board = board.create_app(board.Deps(*base, people=people))
        self.app = webhooks.create_app(webhooks.Deps(*base, secrets=Secrets(folder / "secrets", FILES)))

    def written(self, transaction: Transaction) -> None:
        """What a world watches over is another pipeline's."""

    def ship(self, word: str, before: str, at: int) -> None:
        """All that makes a commit go out to both environments."""
        for what in ("push", "build", "scan"):
            self.post(what, word, before, at)
        self.approve(word)

    def post(self, what: str, word: str, before: str, at: int) -> None:
        _, path, body, headers = signed(self.folder, what, word, at=at, before=before)
        answer = Client(self.app).post(path, data=body, headers=headers)
        assert answer.status_code == 202, answer.get_data(as_text=True)
        self.run()

    def approve(self, word: str) -> None:
        path, token = f"/api/v1/commits/{REPO}/{sha_of(word)}/approvals", f"Bearer {TOKENS['lena']}"
        about = {"application": "shop", "gate": "legal"}
        answer = Client(self.board).post(path, json=about, headers={"Authorization": token})
        assert answer.status_code == 202, answer.get_data(as_text=True)
        self.run()

    def run(self) -> None:
        """Until nothing is under way; no ping comes in between."""
        while self.bus:
            self.deliver()


def test_a_shipped_commit_costs_what_the_page_says(tmp_path: Path) -> None:
    """A push, a build, a scan and an approval, two environments: what is read and written, that of the indexes included.

    Of the second commit: the first one's push also begins the targets.
    """
    Shop(tmp_path).stop()
    table, meter = Table(), Meter()
    with way() as road:
        world = Ship(tmp_path, lambda clock: table.ledger(clock=clock.now, through=road.address, meter=meter))
        world.ship("one", "nothing", 1)
        first = Bill(road)
        meter.read = meter.written = 0
        world.clock.time += timedelta(minutes=1)
        began = len(road.asked)
        world.ship("two", "one", 2)
        bill = Bill(road, began)
        ends = [world.inner.deployments("shop", environment)[0] for environment in ("staging", "production")]
    table.delete()
    assert [(end.sha, end.outcome) for end in ends] == [(sha_of("two"), "succeeded")] * 2
    found = {
        "requests of the first commit": sum(first.requests.values()),
        "requests": sum(bill.requests.values()),
        "transactions": bill.requests["TransactWriteItems"],
        "read request units": bill.read + bill.requests["Query"],
        "write request units, table": bill.table,
        "write request units, indexes": bill.indexes,
        "read units by DynamoDB Local": round(meter.read),
        "write units by DynamoDB Local": round(meter.written),
    }
    said = {name: int(number) for name, number in re.findall(r"^\| ([^|]+?) \| (\d+) \|$", PAGE.read_text(), re.M)}
    for name, number in found.items():
        assert said.get(name) == pytest.approx(number, rel=0.1), (
            f"{PAGE.name} says {said.get(name)} {name}, not {number}"
        )
