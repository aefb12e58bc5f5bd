"""A: build webhook sent -> deploy command started, every hop durable; beside the bare start of the same command."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from support.flow import Shop
from support.process import Up, signed

ROWS = ("A",)
ROUNDS = 200
PIPELINE = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates:
      build: {circleci: {workflow: build-test}}
    environments:
      - name: production
        require: [build]
        deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}
"""


def main() -> None:
    """Print p50 and p99, and the ratio to the floor: the bare command and as many fsyncs as there are durable hops."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with greenlight(folder) as promotion:
            pipeline = [promotion(n) for n in range(ROUNDS + 20)][20:]
        reader = os.open(folder / "config" / "started", os.O_RDWR)
        floor = [_bare(folder, reader) for _ in range(ROUNDS)]
        os.close(reader)
    for title, values in (("webhook -> command started", pipeline), ("floor: bare command + 4 fsyncs", floor)):
        values.sort()
        p50, p99 = statistics.median(values), values[int(len(values) * 0.99) - 1]
        print(f"  {title:32} p50 {p50 * 1e3:6.2f} ms   p99 {p99 * 1e3:6.2f} ms   n={len(values)}")
    print(f"  ratio of the medians: {statistics.median(pipeline) / statistics.median(floor):.2f}")
    print("  goal: p50 <= 7 ms and 2.5 x the floor, p99 <= 15 ms")


@contextlib.contextmanager
def greenlight(folder: Path) -> Iterator[Callable[[int], float]]:
    """A whole Greenlight that runs; called with a number of its own, it promotes a commit, and says what that took."""
    Shop(folder).stop()
    (folder / "config" / "pipeline.yaml").write_text(PIPELINE)
    reader = started(folder / "config")
    up = Up(folder)
    try:
        yield lambda n: _promotion(up, folder, reader, n)
    finally:
        up.stop()
        os.close(reader)


def started(folder: Path) -> int:
    """Write the command deploy.sh; what it writes once it runs comes out of this file descriptor."""
    fifo = folder / "started"
    os.mkfifo(fifo)
    (folder / "deploy.sh").write_text("echo > started\n")
    return os.open(fifo, os.O_RDWR)


def _promotion(up: Up, folder: Path, reader: int, n: int) -> float:
    """Seconds from sending the build's webhook until the command has written its first byte."""
    word = f"commit {n}"
    _post(up, *signed(folder, "push", word, at=n))
    _quiet(up)
    request = signed(folder, "build", word, at=n)
    start = time.perf_counter()
    _post(up, *request)
    os.read(reader, 1)
    took = time.perf_counter() - start
    _quiet(up)
    return took


def _post(up: Up, port: str, path: str, body: bytes, headers: dict[str, str]) -> None:
    answer = up.http.request("POST", getattr(up, port) + path, body=body, headers=headers)
    assert answer.status == 202, answer.data


def _quiet(up: Up) -> None:
    """Wait until the target is free, so that each round measures one promotion alone."""
    while True:
        try:
            target = up.get("/targets/shop/production")
        except AssertionError:
            target = {}
        if not target.get("deployment"):
            break
    time.sleep(0.01)


def _bare(folder: Path, reader: int) -> float:
    start = time.perf_counter()
    with (folder / "floor").open("ab", buffering=0) as file:
        for _ in range(4):
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
    process = subprocess.Popen(["sh", "deploy.sh"], cwd=folder / "config")
    os.read(reader, 1)
    took = time.perf_counter() - start
    process.wait()
    return took
