"""A whole Greenlight whose driver is done at once, for the rows that measure growth.

Arguments: folder, and how many commits of which repository it knows already.

Prints the addresses of webhooks and board; a line `ship SHA` for each deployment that has succeeded; and for a line on its
standard input, once nothing is under way, `cpu SECONDS`: what this process has used so far.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.entrypoints.compose import Folders, Greenlight, ThirdParties
from greenlight.events import types
from greenlight.ledger.port import Ledger, Transaction
from greenlight.model.rows import Push, Record
from greenlight.service.server import serve
from support.flow import sha_of
from support.in_process import deploy_in_process


def say(line: str) -> None:
    """Print it in one write."""
    os.write(1, f"{line}\n".encode())


def ended(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
    """A subscriber that prints which commit an end is about."""
    say(f"ship {environ['HTTP_CE_COMMIT']}")
    start_response("202 Accepted", [])
    return []


def pushed(ledger: Ledger, repo: str, count: int) -> None:
    """Have the ledger know so many commits, each pushed on top of the last one, as the recorder writes them."""
    start, before = datetime.now(UTC) - timedelta(days=30), None
    for n in range(count):
        at, sha = start + timedelta(seconds=n), sha_of(f"known {n}")
        push = Push(repo, "refs/heads/main", sha, before, at, at, f"known {n}")
        record = Record(repo, sha, pushes={push.ref: push}, updated=at)
        ledger.transact(Transaction(records=[record], pushes=[push]))
        before = sha


def main(folder: Path, repo: str, count: int) -> None:
    """Serve until the input ends."""
    only = {"type": frozenset({types.DEPLOYMENT_SUCCEEDED})}
    trigger = replace(
        TriggerSpec.to_service("ended", "ended"),
        filter=lambda event: event.type == types.DEPLOYMENT_SUCCEEDED,
        required_values=only,
    )
    deploy_in_process().start()
    logging.getLogger("greenlight").addHandler(logging.NullHandler())
    greenlight = Greenlight(
        Folders(folder / "config", folder / "data", folder / "secrets"),
        open_reads=True,
        log=logging.getLogger("greenlight"),
        third_parties=ThirdParties([trigger], {"ended": ended}),
    )
    servers = [
        greenlight.serve_webhooks("127.0.0.1:0"),
        serve(greenlight.apps["board"], "127.0.0.1:0", name="board"),
    ]
    pushed(greenlight.ledger, repo, count)
    gc.collect()
    gc.freeze()
    greenlight.start()
    for server in servers:
        server.start()
    say(" ".join(f"{server.address[1]}" for server in servers))
    for _ in sys.stdin:
        if not greenlight.broker.idle(300):
            raise TimeoutError("events are still under way after five minutes")
        say(f"cpu {time.process_time()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
