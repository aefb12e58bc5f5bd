"""The webhook edge as `greenlight up` serves it, in front of a ledger that keeps nothing.

Arguments: folder, `whole` or `server`. The folder has `pipeline.yaml` and `secrets`. `server` is the same HTTP server before
an app that only reads the body. Prints its address when it is ready.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.lib.clock import SystemClock
from greenlight.policy.load import parse
from greenlight.service.publisher import InLog
from greenlight.service.secrets import Secrets
from greenlight.service.server import serve
from greenlight.webhooks.app import Deps, create_app
from greenlight.webhooks.providers.registry import FILES


class Forgetful:
    """A ledger that takes every fact as new and keeps none."""

    def accept(self, *_: Any) -> bool:
        return True

    def journal(self, *_: Any) -> list[Any]:
        return []

    def transact(self, *_: Any) -> None:
        return None


def edge(folder: Path) -> Any:
    """The webhooks' app, which logs warnings only: the baseline writes no lines either."""
    pipeline = parse({"pipeline.yaml": (folder / "pipeline.yaml").read_text()}, folder, DRIVERS)
    log = logging.getLogger("greenlight")
    log.setLevel(logging.WARNING)
    ledger: Any = Forgetful()
    return create_app(
        Deps(SystemClock(), ledger, lambda: pipeline, InLog(), log, secrets=Secrets(folder / "secrets", FILES))
    )


def nothing(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
    """Reads the body, and answers as the edge does."""
    environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("202 Accepted", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]


def main(folder: Path, what: str) -> None:
    """Serve until killed."""
    server = serve(edge(folder) if what == "whole" else nothing, "127.0.0.1:0", name="webhooks")
    gc.collect()
    gc.freeze()
    server.start()
    os.write(1, f"http://127.0.0.1:{server.address[1]}\n".encode())
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
