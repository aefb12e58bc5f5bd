"""The ledger that the settings name. Each adapter is imported only where it is used."""

from __future__ import annotations

from pathlib import Path

from greenlight.entrypoints.settings import Settings
from greenlight.ledger.bodies import Bodies, Folder
from greenlight.ledger.port import Ledger
from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError, Unavailable

DATABASE = "greenlight.db"
"""The file in the data folder of one machine."""


def ledger_of(settings: Settings, clock: Clock) -> Ledger:
    """Open the ledger. Raises ConfigurationError where a person has to act, Unavailable where trying again helps."""
    if settings.table is not None:
        return _dynamodb(settings.table, settings.bodies, clock)
    return _sqlite(settings, clock)


def _sqlite(settings: Settings, clock: Clock) -> Ledger:
    from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
    from greenlight.store import errors
    from greenlight.store.store import Store

    try:
        store = Store(settings.data / DATABASE, [SCHEMA])
    except errors.Newer as problem:
        raise ConfigurationError(str(problem)) from problem
    except errors.Locked as problem:
        raise Unavailable(str(problem)) from problem
    bodies = settings.data / "bodies" if settings.bodies is None else Path(settings.bodies)
    return SqliteLedger(store, bodies, clock=clock.now)


def _dynamodb(table: str, bodies: str | None, clock: Clock) -> Ledger:
    from greenlight.ledger.dynamodb import aws
    from greenlight.ledger.dynamodb.bodies import InTable
    from greenlight.ledger.dynamodb.bodies_s3 import Bucket
    from greenlight.ledger.dynamodb.client import Dynamo
    from greenlight.ledger.dynamodb.ledger import DynamoLedger

    account = aws.account()
    dynamo = Dynamo(aws.Service("dynamodb", account, clock=clock), table)
    kept: Bodies
    if bodies is None:
        kept = InTable(dynamo)
    elif bodies.startswith("s3://"):
        bucket, _, prefix = bodies.removeprefix("s3://").partition("/")
        kept = Bucket(aws.Service("s3", account, clock=clock), bucket, prefix)
    else:
        kept = Folder(Path(bodies))
    return DynamoLedger(dynamo, kept, clock=clock.now)
