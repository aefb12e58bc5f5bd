"""Amazon's DynamoDB Local, for the tests that need a DynamoDB: a table for each, and connections that go wrong as told."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from greenlight.ledger import aws
from greenlight.ledger.bodies import Bodies, Folder
from greenlight.ledger.dynamodb import DynamoLedger
from greenlight.ledger.dynamodb_client import Dynamo, Meter
from greenlight.ledger.dynamodb_table import settings

ENDPOINT = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB")

MISSING = None if ENDPOINT else "no AWS_ENDPOINT_URL_DYNAMODB: . $(tests/cluster/cluster up dynamodb) sets it"
"""Why tests that need DynamoDB are skipped."""


def no_pause(attempt: int) -> None:
    """Nobody is in the way for long here."""


class Table:
    """A table of its own, with the ledger's settings but for what protects it."""

    def __init__(self) -> None:
        self.name = f"greenlight-test-{uuid.uuid4()}"
        self.service = aws.service("dynamodb")
        make = {key: value for key, value in settings()["CreateTable"].items() if key != "DeletionProtectionEnabled"}
        self._call("CreateTable", {**make, "TableName": self.name})

    def ledger(
        self, bodies: Path | Bodies, *, clock: Callable[[], datetime], meter: Meter | None = None
    ) -> DynamoLedger:
        """The ledger in it."""
        kept = Folder(bodies) if isinstance(bodies, Path) else bodies
        return DynamoLedger(Dynamo(self.service, self.name, meter=meter), kept, clock=clock)

    def delete(self) -> None:
        """Drop it."""
        self._call("DeleteTable", {"TableName": self.name})

    def _call(self, operation: str, request: dict[str, Any]) -> None:
        dynamo = Dynamo(self.service, self.name)
        dynamo._call(operation, request, named=False)
