"""A whole Greenlight that says which commits it has shipped. Arguments: folder, and `command` or `in-process`.

Prints the address of its webhooks, then the sha of each deployment that has succeeded.
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

from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.entrypoints.compose import Folders, Greenlight, ThirdParties
from support.in_process import deploy_in_process


def tell(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
    """A subscriber that prints which commit an end is about."""
    if environ["HTTP_CE_TYPE"] == "deployment.succeeded":
        os.write(1, f"{environ['HTTP_CE_COMMIT']}\n".encode())
    start_response("202 Accepted", [])
    return []


def main(folder: Path, driver: str) -> None:
    """Serve until killed."""
    if driver == "in-process":
        deploy_in_process().start()
    logging.getLogger("greenlight").addHandler(logging.NullHandler())
    greenlight = Greenlight(
        Folders(folder / "config", folder / "data", folder / "secrets"),
        open_reads=True,
        log=logging.getLogger("greenlight"),
        third_parties=ThirdParties([TriggerSpec.to_service("tell", "tell")], {"tell": tell}),
    )
    server = greenlight.serve_webhooks("127.0.0.1:0")
    gc.collect()
    gc.freeze()
    greenlight.start()
    server.start()
    os.write(1, f"http://127.0.0.1:{server.address[1]}\n".encode())
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
