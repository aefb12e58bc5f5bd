"""Amazon's DynamoDB Local, for the tests that need a DynamoDB: a table each, and a connection that fails on request."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from greenlight.ledger.bodies import Bodies
from greenlight.ledger.dynamodb import aws
from greenlight.ledger.dynamodb.bodies import InTable
from greenlight.ledger.dynamodb.client import Dynamo, Meter, Refused
from greenlight.ledger.dynamodb.ledger import DynamoLedger
from greenlight.ledger.dynamodb.table import settings
from greenlight.lib.jitter import full_jitter

ENDPOINT = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB", "")

MISSING = "" if ENDPOINT else "no AWS_ENDPOINT_URL_DYNAMODB: . $(tests/cluster/cluster up dynamodb) sets it"
"""Why tests that need DynamoDB are skipped; empty: they are not."""


def no_pause(attempt: int) -> None:
    """Pause for no time, in tests in which nothing is in the way for long."""


_account = cache(aws.account)
"""One for the process: its session reads the descriptions of AWS's services once."""


class Table:
    """A table of its own, with the ledger's settings except those that protect it."""

    def __init__(self) -> None:
        self.name = f"greenlight-test-{uuid.uuid4()}"
        self.account = _account()
        self.service = aws.Service("dynamodb", self.account)
        self.dynamo = Dynamo(self.service, self.name)
        make = {key: value for key, value in settings()["CreateTable"].items() if key != "DeletionProtectionEnabled"}
        try:
            self.dynamo.call("CreateTable", make)
        except Refused as problem:  # nobody else has the name: a first try was heard, and its answer came too late
            if "preexisting" not in str(problem):
                raise

    def ledger(
        self,
        *,
        clock: Callable[[], datetime],
        through: str = ENDPOINT,
        bodies: Bodies | None = None,
        meter: Meter | None = None,
        pause: Callable[[int], None] = full_jitter,
    ) -> DynamoLedger:
        """Return the ledger in the table, reached `through` an address.

        Bodies are in the table, too, unless they have a place.
        """
        service = aws.Service("dynamodb", self.account, url=through, pause=pause)
        dynamo = Dynamo(service, self.name, meter=meter, pause=pause)
        return DynamoLedger(dynamo, bodies or InTable(dynamo), clock=clock, pause=pause)

    def delete(self) -> None:
        """Delete the table."""
        self.dynamo.call("DeleteTable", {})


class Lost:
    """The request is done, and its answer never comes."""


class NotSent:
    """The request never arrives."""


class Says:
    """The request is answered with this, and not done."""

    def __init__(self, status: int, code: str, **more: Any) -> None:
        self.status = status
        self.body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": code, **more}).encode()


class Damaged:
    """The request is done, and a byte of the answer is another one than was sent."""


Fault = Lost | NotSent | Says | Damaged


class Lag:
    """Global indexes as AWS promises them: a write shows up later, each item by its own time, here in requests.

    What lies in them is kept here from the writes that succeeded, and queries of them are answered from here.
    """

    def __init__(self, dice: random.Random, most: int) -> None:
        self._dice, self._most = dice, most
        self._now = 0
        self._coming: list[tuple[int, tuple[str, str], dict[str, Any] | None]] = []
        self._last: dict[tuple[str, str], int] = {}
        self._shown: dict[tuple[str, str], dict[str, Any]] = {}
        self.late = 0  # queries that did not show what the table holds

    def written(self, operation: str, document: dict[str, Any]) -> None:
        """Note a request that succeeded."""
        self._now += 1
        for kind, one in _writes(operation, document):
            key = (one.get("Key") or one["Item"])["pk"]["S"], (one.get("Key") or one["Item"])["sk"]["S"]
            if kind not in ("Put", "Delete"):
                continue
            keys = {name: one["Item"][name] for name in ("pk", "sk", "q", "g", "o") if name in one.get("Item", {})}
            self._last[key] = max(self._last.get(key, 0), self._now + self._dice.randrange(self._most))
            self._coming.append((self._last[key], key, keys if {"q", "g"} & keys.keys() else None))

    def answer(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return what a query of an index finds now."""
        self._now += 1
        for at, key, keys in [it for it in self._coming if it[0] <= self._now]:
            self._coming.remove((at, key, keys))
            if keys is None:
                self._shown.pop(key, None)
            else:
                self._shown[key] = keys
        self.late += bool(self._coming)
        partition, equals, name, *rest = document["KeyConditionExpression"].split()
        assert (equals, rest[:3] or ["AND", "o", "<"]) == ("=", ["AND", "o", "<"]), document["KeyConditionExpression"]
        values = {name: value["S"] for name, value in document["ExpressionAttributeValues"].items()}
        forward = document["ScanIndexForward"]
        found = [it for it in self._shown.values() if it.get(partition, {}).get("S") == values[name]]
        found = [it for it in found if not rest or it["o"]["S"] < values[rest[3]]]
        found.sort(key=_place, reverse=not forward)
        start = document.get("ExclusiveStartKey")
        if start is not None:
            found = [it for it in found if (_place(it) > _place(start)) == forward and _place(it) != _place(start)]
        limit = document.get("Limit", 1000)
        more = {"LastEvaluatedKey": found[limit - 1]} if len(found) > limit else {}
        return {"Items": found[:limit], **more}


def _place(item: dict[str, Any]) -> tuple[str, str, str]:
    return item["o"]["S"], item["pk"]["S"], item["sk"]["S"]


def _writes(operation: str, document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (Put, Update, Delete or ConditionCheck, its parameters) of each item that a request writes."""
    if operation == "TransactWriteItems":
        for part in document["TransactItems"]:
            yield from part.items()
    elif operation == "BatchWriteItem":
        for requests in document["RequestItems"].values():
            yield from (("Delete", request["DeleteRequest"]) for request in requests)
    elif operation in ("PutItem", "UpdateItem", "DeleteItem"):
        yield operation.removesuffix("Item"), document


class Way:
    """A connection to DynamoDB on which chosen requests of an operation fail."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[tuple[str, dict[str, Any]]] = []  # every request: operation, document
        self._faults: dict[str, deque[Fault]] = {}
        self._lock = threading.Lock()
        self.before: Callable[[str], None] = lambda operation: None  # called before each request is passed on
        self.luck: Callable[[], Fault | None] = lambda: None  # what happens to a request without a chosen fault
        self.lag: Lag | None = None  # of the indexes

    def fail(self, operation: str, *faults: Fault) -> None:
        """Let the next requests of this operation fail."""
        self._faults.setdefault(operation, deque()).extend(faults)

    def count(self, operation: str) -> int:
        """Return how many requests of an operation there were."""
        return sum(name == operation for name, _ in self.asked)

    def next(self, operation: str, body: bytes) -> Fault | None:
        """Return what happens to a request now."""
        with self._lock:
            self.asked.append((operation, json.loads(body)))
            waiting = self._faults.get(operation)
            return waiting.popleft() if waiting else self.luck()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    way: Way

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(urlsplit(ENDPOINT).netloc, timeout=30)

    def finish(self) -> None:
        super().finish()
        self._upstream.close()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        operation = self.headers["x-amz-target"].partition(".")[2]
        fault = self.way.next(operation, body)
        if isinstance(fault, NotSent):
            self.close_connection = True
            return
        if isinstance(fault, Says):
            self._give(fault.status, fault.body, None)
            return
        self.way.before(operation)
        document = json.loads(body)
        if self.way.lag is not None and "IndexName" in document:
            self._give(200, json.dumps(self.way.lag.answer(document)).encode(), None)
            return
        self._upstream.request("POST", "/", body, dict(self.headers.items()))
        answer = self._upstream.getresponse()
        content = answer.read()
        if self.way.lag is not None and answer.status == 200:
            self.way.lag.written(operation, document)
        if isinstance(fault, Lost):
            self.close_connection = True
            return
        checksum = str(zlib.crc32(content))
        self._give(answer.status, content if fault is None else b"x" + content[1:], checksum)

    def _give(self, status: int, body: bytes, checksum: str | None) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if checksum is not None:
            self.send_header("x-amz-crc32", checksum)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def way() -> Iterator[Way]:
    """Run a server on this machine that passes on every request without a chosen fault."""
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        found = Way(f"http://127.0.0.1:{server.server_port}")
        handler.way = found  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
