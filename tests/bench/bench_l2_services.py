"""L2: `greenlight serve SERVICE`, from the start of the process to able to serve, with only that service's adapters."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import urllib3
from measure import ROUNDS, Row, child, cpu, free

from support.dynamodb import MISSING, Table
from support.flow import Shop

ROWS = ("L2",)
LIMIT = {"deployer": 1.0}
"""Seconds; of all others 0.7."""

SERVICES = ("webhooks", "recorder", "promoter", "deployer", "reconciler", "board")


def main() -> list[Row]:
    """Medians, by the clock and in CPU: on a busy machine only the second is the program's own."""
    rows = _with("SQLite", {})
    if MISSING:
        return [*rows, Row("L2", "each service on DynamoDB", "skipped", note=MISSING)]
    table = Table()
    try:
        return [*rows, *_with("DynamoDB", {"GREENLIGHT_LEDGER": f"dynamodb:{table.name}"})]
    finally:
        table.delete()


def _with(ledger: str, env: Mapping[str, str]) -> list[Row]:
    started: dict[str, list[tuple[float, float]]] = {service: [] for service in SERVICES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Shop(folder).stop()
        bare = []
        for _ in range(ROUNDS):
            bare.append(_bare())
            for service in SERVICES:
                started[service].append(_start(service, folder, env))
    rows = []
    for service, each in started.items():
        wall, work = (statistics.median(column) for column in zip(*each, strict=True))
        limit = LIMIT.get(service, 0.7)
        measure = f"{service} on {ledger}: start to able to serve"
        note = f"{work:.2f} s of CPU; the bare interpreter {statistics.median(bare):.3f} s"
        rows.append(Row("L2", measure, f"{wall:.2f} s", f"{limit:g} s", wall / limit, at_most=1.0, note=note))
    return rows


def _bare() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - start


def _start(service: str, folder: Path, more: Mapping[str, str]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU, until it says that it is able to serve; the webhooks, that they are alive."""
    path = "healthz" if service == "webhooks" else "readyz"
    port = free()
    env = {
        "PORT": str(port),
        "K_SINK": "http://127.0.0.1:9/greenlight/default",
        "GREENLIGHT_CONFIG": str(folder / "config"),
        "GREENLIGHT_DATA": str(folder / "data"),
        "GREENLIGHT_SECRETS": str(folder / "secrets"),
        **more,
    }
    # As the kubelet probes; a connection that is kept would have the service listen to it for 2 s more when it is to end.
    http = urllib3.PoolManager(retries=False, timeout=5, headers={"Connection": "close"})
    start = time.perf_counter()
    with child(sys.executable, "-m", "greenlight.cli.main", "serve", service, env=env, stderr=subprocess.DEVNULL) as it:
        while it.poll() is None and time.perf_counter() - start < 60:
            try:
                if http.request("GET", f"http://127.0.0.1:{port}/{path}").status == 200:
                    return time.perf_counter() - start, cpu(it.pid)
            except urllib3.exceptions.HTTPError:
                time.sleep(0.005)
    raise RuntimeError(f"{service} did not start")
