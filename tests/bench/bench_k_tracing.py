"""K: CPU of tracing everything, per shipped commit: all sampled, exported by OTLP to a sink on this machine, beside none.

K2: the same of keeping spans beside the ledger, as every `greenlight up` does.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from measure import Row, ms

from greenlight.broker.subscribers import WsgiSubscriber
from greenlight.entrypoints.compose import Folders, Greenlight
from greenlight.entrypoints.settings import SPANS
from greenlight.lib import signing
from greenlight.telemetry import keeping, metrics
from greenlight.telemetry.setup import tracer_of
from support.flow import build_payload, people_yaml, push_payload

ROWS = ("K", "K2")
BLOCK = 10
ROUNDS = 40
TARGETS = 100
APPLICATION = """
  - name: shop{n}
    repo: acme/shop{n}
    branches: [main]
    gates:
      build: {{circleci: {{workflow: build-test}}}}
    environments:
      - name: production
        require: [build]
        deploy: {{command: {{run: ["true"], timeout: 30s}}}}
"""
PIPELINE = "apiVersion: greenlight/v1\nkind: Pipeline\napplications:" + "".join(
    APPLICATION.format(n=n) for n in range(TARGETS)
)
DELAY = 0.1
"""Seconds between exports; each block waits until it has been exported."""
SELF = Path(__file__)


def main() -> list[Row]:
    """CPU per commit with and without, and their ratio; pipelines in this process take turns, a few commits each."""
    with ExitStack() as stack:
        sink = stack.enter_context(_Sink())
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_BSP_SCHEDULE_DELAY": str(int(DELAY * 1000))}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(mock.patch.object(keeping, "DELAY", DELAY))
        off, kept = _Pipeline(folder / "off", {}), _Pipeline(folder / "kept", {}, spans=SPANS)
        on = _Pipeline(folder / "on", where)
        for pipeline in (off, kept, on):
            stack.callback(pipeline.greenlight.stop, 10)
        rounds = [_round((off, kept, on), n) for n in range(ROUNDS + 3)]
    spans = metrics.SPANS.labels("exported")._value.get() / len(rounds) / BLOCK
    dropped = metrics.SPANS.labels("dropped")._value.get()
    measured = rounds[3:]  # the first ones warm up
    without, keeps, traced = (statistics.median(column) for column in zip(*measured, strict=True))
    ratios = [with_it / bare for bare, _, with_it in measured]
    of_kept = [with_it / bare for bare, with_it, _ in measured]
    for name, found in (("exported", ratios), ("kept", of_kept)):
        quarters = ", ".join(f"{it:.2f}" for it in statistics.quantiles(found, n=4))
        print(f"  {ROUNDS} rounds of {BLOCK} commits, {name}, ratio's quartiles: {quarters}")
    return [
        Row(
            "K",
            "CPU per commit, all traced",
            ms(traced),
            f"{ms(without)} without",
            statistics.median(ratios),
            at_most=1.5,
            note=f"{spans:.0f} spans a commit, {dropped:.0f} dropped",
        ),
        Row(
            "K2",
            "CPU per commit, spans kept",
            ms(keeps),
            f"{ms(without)} without",
            statistics.median(of_kept),
            at_most=1.1,
        ),
    ]


def _round(pipelines: tuple[_Pipeline, ...], n: int) -> tuple[float, ...]:
    """One block each; who is first changes."""
    found: dict[_Pipeline, float] = {}
    first = n % len(pipelines)
    for pipeline in pipelines[first:] + pipelines[:first]:
        found[pipeline] = pipeline.ship(n)
    return tuple(found[pipeline] for pipeline in pipelines)


class _Pipeline:
    """A whole Greenlight with many targets, none of which has much of a past."""

    def __init__(self, folder: Path, env: Mapping[str, str], spans: timedelta | None = None) -> None:
        for name in ("config", "secrets"):
            (folder / name).mkdir(parents=True)
        (folder / "config" / "pipeline.yaml").write_text(PIPELINE)
        (folder / "config" / "people.yaml").write_text(people_yaml())
        for name in ("github", "circleci"):
            (folder / "secrets" / name).write_text(f"{name}-secret\n")
        log = logging.getLogger("bench")
        log.setLevel(logging.ERROR)
        folders = Folders(folder / "config", folder / "data", folder / "secrets")
        with mock.patch.dict(os.environ, env):
            tracer = tracer_of(None, log)
        self.greenlight = Greenlight(folders, open_reads=True, log=log, tracer=tracer, spans=spans)
        self._senders = {
            name: WsgiSubscriber(self.greenlight.apps["webhooks"], f"http://localhost/webhooks/{name}")
            for name in ("github", "circleci")
        }
        self.greenlight.start()

    def ship(self, round: int) -> float:
        """CPU seconds of the process for each of a few commits: push, build, deployment, all that follows, and its export."""
        requests = [request for n in range(BLOCK) for request in _requests((round * BLOCK + n) % TARGETS, round)]
        start = time.process_time()
        for sender, headers, body in requests:
            answer = self._senders[sender].post(headers, body)
            assert answer.status == 202, answer.body
        assert self.greenlight.broker.idle(60)
        time.sleep(2 * DELAY)
        return (time.process_time() - start) / BLOCK


def _requests(n: int, round: int) -> list[tuple[str, dict[str, str], bytes]]:
    """What GitHub and CircleCI send of a commit of the n-th repository."""

    def body(payload: dict[str, Any]) -> bytes:
        text = json.dumps(payload)
        return text.replace("Acme/Shop", f"Acme/Shop{n}").replace("acme/shop", f"acme/shop{n}").encode()

    push = body(push_payload(f"commit {round}", before=f"commit {round - 1}", at=round))
    build = body(build_payload(f"commit {round}", number=round + 1))
    json_type = {"Content-Type": "application/json"}
    signed = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signing.github(b"github-secret", push)}
    return [
        ("github", json_type | signed, push),
        ("circleci", json_type | {"circleci-signature": signing.circleci(b"circleci-secret", build)}, build),
    ]


class _Sink:
    """An OTLP backend in a process of its own that takes everything and keeps nothing."""

    def __enter__(self) -> _Sink:
        self._process = subprocess.Popen(
            [sys.executable, str(SELF)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("end\n", timeout=30)


def _take_everything() -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    _take_everything()
