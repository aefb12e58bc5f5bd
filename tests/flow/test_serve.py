"""`greenlight serve`: one service as a process, and what it refuses to start with."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3

from greenlight.deployer import domain
from greenlight.deployer.drivers.command.ends import read_end
from greenlight.entrypoints.compose import expire_leases
from greenlight.entrypoints.serve import THREADS
from greenlight.events import Event, ids, types
from greenlight.events.build import as_fact
from greenlight.events.http import to_binary
from greenlight.ledger.sqlite.ledger import SCHEMA, SqliteLedger
from greenlight.lib.clock import SystemClock
from greenlight.store.store import Store
from support.dynamodb import MISSING, Table
from support.flow import REPO, TOKENS, Shop, sha_of
from support.process import signed
from support.timing import PATIENCE
from support.tracing import otlp_backend

ONE_REQUEST = {"Connection": "close"}
"""As the kubelet probes. A connection that is kept is listened to for 2 s more when the service is told to stop."""


def _environment(folder: Path, **env: str) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mine = {
        "PORT": str(port),
        "K_SINK": "http://127.0.0.1:9/greenlight/default",
        "GREENLIGHT_CONFIG": str(folder / "config"),
        "GREENLIGHT_DATA": str(folder / "data"),
        "GREENLIGHT_SECRETS": str(folder / "secrets"),
    }
    return {**os.environ, **mine, **env}


def _command(service: str) -> list[str]:
    return [sys.executable, "-m", "greenlight.cli.main", "serve", service]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Configuration and secrets of a shop that has run."""
    Shop(tmp_path).stop()
    return tmp_path


def _wait_for(url: str) -> None:
    """Until it answers 200."""
    status, deadline = 0, time.monotonic() + PATIENCE
    while status != 200 and time.monotonic() < deadline:
        try:
            status = urllib3.request("GET", url, headers=ONE_REQUEST, retries=False, timeout=2).status
        except urllib3.exceptions.HTTPError:
            time.sleep(0.1)
    assert status == 200


def _page(env: dict[str, str], path: str) -> str:
    """A page of a board, as a person sees it."""
    headers = {"Authorization": f"Bearer {TOKENS['lena']}", "Accept": "text/html"}
    url = f"http://127.0.0.1:{env['PORT']}{path}"
    return urllib3.request("GET", url, headers=headers, retries=False, timeout=PATIENCE).data.decode()


def test_a_service_answers_until_it_is_told_to_stop(folder: Path) -> None:
    """Ready on $PORT; SIGTERM ends it in order; no door but that one."""
    env = _environment(folder, HOME=str(folder))
    with subprocess.Popen(_command("board"), env=env, stderr=subprocess.DEVNULL) as process:
        _wait_for(f"http://127.0.0.1:{env['PORT']}/readyz")
        assert not (folder / ".gunicorn").exists()
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_the_broker_waits_for_its_dead_letter_sink_which_therefore_does_not_wait_for_the_broker(folder: Path) -> None:
    """The reconciler is ready before a SinkBinding has told it where events go."""
    env = _environment(folder)
    del env["K_SINK"]
    with subprocess.Popen(_command("reconciler"), env=env, stderr=subprocess.DEVNULL) as process:
        _wait_for(f"http://127.0.0.1:{env['PORT']}/readyz")
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_services_share_a_ledger_on_dynamodb(folder: Path) -> None:
    """What one process accepted, the other one shows; no file is made for it."""
    table = Table()
    env = {"GREENLIGHT_LEDGER": f"dynamodb:{table.name}", "GREENLIGHT_DATA": str(folder / "none")}
    webhooks, board = _environment(folder, **env), _environment(folder, **env)
    webhooks["GREENLIGHT_SECRETS"] = str(folder / "secrets")
    with (
        subprocess.Popen(_command("webhooks"), env=webhooks, stderr=subprocess.DEVNULL) as first,
        subprocess.Popen(_command("board"), env=board, stderr=subprocess.DEVNULL) as second,
    ):
        try:
            _wait_for(f"http://127.0.0.1:{webhooks['PORT']}/healthz")
            _, path, body, headers = signed(folder, "push", "one")
            answer = urllib3.request("POST", f"http://127.0.0.1:{webhooks['PORT']}{path}", body=body, headers=headers)
            assert answer.status == 202, answer.data
            _wait_for(f"http://127.0.0.1:{board['PORT']}/readyz")
            _until(lambda: sha_of("one")[:7] in _page(board, "/activity"))
            assert "accepted" in _page(board, "/activity")
            assert "Last heard" in _page(board, "/setup")
        finally:
            first.terminate()
            second.terminate()
        assert (first.wait(PATIENCE), second.wait(PATIENCE)) == (0, 0)
    ledger = table.ledger(clock=SystemClock().now)
    fact = ledger.fact(answer.json()["id"])
    assert fact is not None
    assert fact.sha == sha_of("one")
    assert fact.body is not None
    assert ledger.body(fact.body) == body
    assert [due.event for due in ledger.due(fact.accepted + timedelta(minutes=1))] == [fact.event]  # there is no Broker
    assert not (folder / "none" / "greenlight.db").exists()
    table.delete()


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_table_that_is_not_there_makes_a_service_not_ready_and_alive(folder: Path) -> None:
    """Readiness says that a person has to mend it, and how; to be started again would not help."""
    table = Table()
    table.delete()
    env = _environment(folder, GREENLIGHT_LEDGER=f"dynamodb:{table.name}")
    with subprocess.Popen(_command("recorder"), env=env, stderr=subprocess.DEVNULL) as process:
        _wait_for(f"http://127.0.0.1:{env['PORT']}/healthz")
        answer = urllib3.request(
            "GET", f"http://127.0.0.1:{env['PORT']}/readyz", headers=ONE_REQUEST, retries=False, timeout=PATIENCE
        )
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert (answer.status, answer.json()["reason"]) == (503, "misconfigured")
    assert "greenlight ledger create" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"GREENLIGHT_LEDGER": "postgres"}, "sqlite or dynamodb:TABLE"),
        ({"GREENLIGHT_LEDGER": "dynamodb:no"}, "sqlite or dynamodb:TABLE"),
        ({"GREENLIGHT_BODIES": "s3://bucket"}, "goes with GREENLIGHT_LEDGER=dynamodb:TABLE only"),
        ({"GREENLIGHT_LEDGER": "dynamodb:table", "GREENLIGHT_BODIES": "gs://x"}, "a folder or s3://BUCKET/PREFIX"),
        ({"GREENLIGHT_LEDGER": "dynamodb:table", "AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "set AWS_REGION"),
    ],
)
def test_a_ledger_that_cannot_be_meant_stops_the_start(folder: Path, env: dict[str, str], problem: str) -> None:
    """With the setting's name and what it may be."""
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    done = subprocess.run(
        _command("board"), env=_environment(folder, **nothing, **env), capture_output=True, timeout=60
    )
    assert done.returncode == 2
    assert problem in done.stderr.decode()


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"GREENLIGHT_BOARD_URL": "http://greenlight.acme.example"}, "GREENLIGHT_BOARD_URL is"),
        ({"GREENLIGHT_GITHUB_CLIENT": "id"}, "no file login-github"),
    ],
)
def test_a_wrong_setting_of_login_stops_the_board_alone(folder: Path, env: dict[str, str], problem: str) -> None:
    """Before anything is forked."""
    done = subprocess.run(_command("board"), env=_environment(folder, **env), capture_output=True, timeout=60)
    assert (done.returncode, problem in done.stderr.decode()) == (2, True)


def test_a_service_exports_what_it_traced_before_it_ends(folder: Path) -> None:
    """Under its own name, below the commit; the sender's trace is a link."""
    with otlp_backend() as backend:
        env = _environment(folder, OTEL_EXPORTER_OTLP_ENDPOINT=backend.url, OTEL_BSP_SCHEDULE_DELAY="600000")
        with subprocess.Popen(_command("webhooks"), env=env, stderr=subprocess.DEVNULL) as process:
            url = f"http://127.0.0.1:{env['PORT']}"
            _wait_for(f"{url}/healthz")
            _, path, body, headers = signed(folder, "push", "one")
            traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            answer = urllib3.request("POST", url + path, body=body, headers={**headers, "traceparent": traceparent})
            assert answer.status == 202
            process.terminate()
            assert process.wait(PATIENCE) == 0
    span = ids.span_id(answer.json()["id"], "receive")
    assert backend.spans()[span] == (ids.trace_id(REPO, sha_of("one")), "receive com.github.push", "webhooks")


def test_an_events_request_is_a_span_of_flasks_instrumentation(folder: Path) -> None:
    """Below the hop that brought it, and the service's own below it; a probe is none."""
    about = {
        "repo": REPO,
        "commit": sha_of("one"),
        "traceparent": ids.traceparent(REPO, sha_of("one"), "1", "send event"),
    }
    when = datetime(2026, 1, 1, tzinfo=UTC)
    fact = as_fact(Event.of("com.example.scan", id="1", source="/tests", time=when, data={}, extensions=about))
    trace = ids.trace_id(REPO, sha_of("one"))
    headers, body = to_binary(fact)
    headers["traceparent"] = f"00-{trace}-{'b' * 16}-01"
    with otlp_backend() as backend:
        env = _environment(folder, OTEL_EXPORTER_OTLP_ENDPOINT=backend.url, OTEL_BSP_SCHEDULE_DELAY="600000")
        with subprocess.Popen(_command("recorder"), env=env, stderr=subprocess.DEVNULL) as process:
            root = f"http://127.0.0.1:{env['PORT']}"
            _wait_for(f"{root}/readyz")
            assert urllib3.request("POST", root, body=body, headers={**headers, **ONE_REQUEST}).status == 202
            process.terminate()
            assert process.wait(PATIENCE) == 0
    spans = {span.name: span for span in backend.protobufs()}
    assert set(spans) == {"POST /", "read event"}
    assert [spans["POST /"].trace_id.hex(), spans["read event"].trace_id.hex()] == [trace, trace]
    assert spans["POST /"].parent_span_id.hex() == "b" * 16
    assert spans["read event"].parent_span_id == spans["POST /"].span_id
    assert spans["read event"].span_id.hex() == ids.span_id("1", "recorder: read event")


def test_slow_clients_of_the_webhooks_delay_nobody_else(folder: Path) -> None:
    """More of them than there are threads, each in the middle of a body: a sender beside them is answered, they wait."""
    env = _environment(folder)
    with subprocess.Popen(_command("webhooks"), env=env, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{env['PORT']}"
        _wait_for(f"{url}/healthz")
        _, path, body, headers = signed(folder, "push", "one")
        with contextlib.ExitStack() as stack:
            slow = [
                stack.enter_context(socket.create_connection(("127.0.0.1", int(env["PORT"])), timeout=PATIENCE))
                for _ in range(3 * THREADS)
            ]
            for connection in slow:
                connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nslow".encode())
            answer = urllib3.request("POST", url + path, body=body, headers=headers, retries=False, timeout=PATIENCE)
            assert answer.status == 202
            assert all(connection.recv(12) == b"HTTP/1.1 408" for connection in slow)  # cut off, by their deadline
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_everything_that_is_wrong_is_said_at_once_and_without_a_traceback(folder: Path) -> None:
    """Exit 2, before anything is forked."""
    (folder / "secrets" / "github").write_text("")
    (folder / "config" / "people.yaml").write_text("people: [lena]\n")
    pipeline = folder / "config" / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("branches:", "branch:"))
    for service, said in (("webhooks", "holds no secret"), ("board", "people.yaml:1"), ("recorder", "pipeline.yaml:7")):
        refused = subprocess.run(
            _command(service),
            env=_environment(folder, GREENLIGHT_DATA="/proc/nowhere"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert refused.returncode == 2, refused.stderr
        assert "Traceback" not in refused.stderr
        for each in (said, "pipeline.yaml:7", "Name another with GREENLIGHT_DATA"):
            assert each in refused.stderr


def test_a_ledger_that_somebody_has_is_left_to_him(folder: Path) -> None:
    """It says who, and ends instead of trying for ever."""
    store = Store(folder / "data" / "greenlight.db", [])
    refused = subprocess.run(
        _command("recorder"), env=_environment(folder), capture_output=True, text=True, timeout=60, check=False
    )
    store.close()
    assert refused.returncode == 3
    assert "is in use by process" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "a dependency is down" in refused.stderr


@dataclass
class SlowBroker:
    """Takes events, and answers only when it is let."""

    url: str = ""
    came: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def slow_broker() -> Iterator[SlowBroker]:
    broker = SlowBroker()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            broker.came.set()
            broker.go_on.wait(60)
            self.send_response(202)
            self.end_headers()
            broker.answered.set()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        broker.url = f"http://127.0.0.1:{server.server_address[1]}/greenlight/default"
        yield broker
        broker.go_on.set()
        server.shutdown()


def test_a_webhook_is_answered_while_the_broker_hangs_and_sigterm_lets_its_event_through(folder: Path) -> None:
    """Its sender waits for the disk alone. A rolling update loses nothing that was begun, and leaves with exit code 0."""
    with slow_broker() as broker:
        env = _environment(folder, K_SINK=broker.url)
        port = int(env["PORT"])
        _, path, body, headers = signed(folder, "push", "one")
        with subprocess.Popen(_command("webhooks"), env=env, stderr=subprocess.DEVNULL) as process:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/healthz")
            assert urllib3.request("POST", url + path, body=body, headers=headers, retries=False).status == 202
            assert broker.came.wait(PATIENCE), "its event is on the way"
            assert urllib3.request("POST", url + path, body=b"{}", headers=headers, retries=False).status == 401
            process.terminate()
            _wait_until_refused(port)
            assert process.poll() is None
            broker.go_on.set()
            assert process.wait(PATIENCE) == 0
        assert broker.answered.wait(PATIENCE), "the process was there to read the answer"
    store = Store(folder / "data" / "greenlight.db", [SCHEMA])
    (row,) = SqliteLedger(store, folder / "data" / "bodies", clock=SystemClock().now).arrivals.newest()
    store.close()
    assert row.counts == {"accepted": 1, "unauthenticated": 1}, "what it answered is there for the board"
    assert {(it.sender, it.verdict, it.sha) for it in row.arrivals} == {
        ("github", "accepted", sha_of("one")),
        ("github", "unauthenticated", None),
    }


def test_sigterm_lets_what_deploys_end(folder: Path) -> None:
    """Helm, killed with its container, would leave a locked release; so the deployer waits for what it started or adopted."""
    hold = folder / "config" / "hold-staging"
    os.mkfifo(hold)
    shop = Shop(folder).start()
    shop.push("one")
    shop.build("one")
    _until(lambda: len(shop.deployed()) == 1)
    (under_way,) = shop.greenlight.ledger.deployments("shop", "staging")
    shop.greenlight.stop(0)
    store = Store(folder / "data" / "greenlight.db", [SCHEMA])
    expire_leases(SqliteLedger(store, folder / "data" / "bodies", clock=SystemClock().now), SystemClock())
    store.close()

    env = _environment(folder)
    with subprocess.Popen(_command("deployer"), env=env, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{env['PORT']}"
        _wait_for(f"{url}/readyz")
        told = domain.event_of(types.DEPLOYMENT_PROGRESSING, under_way, SystemClock().now(), "again")
        headers, body = to_binary(told)
        answer = urllib3.request("POST", url, body=body, headers=headers | ONE_REQUEST, retries=False, timeout=60)
        assert answer.status == 200
        process.terminate()
        _wait_until_refused(int(env["PORT"]))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        hold.write_text("go\n")
        assert process.wait(PATIENCE) == 0
    assert len(shop.deployed()) == 1
    end = read_end(folder / "data" / "deployer" / "ends" / "shop--staging.json")
    assert end is not None
    assert (end.deployment, end.exit) == (under_way.id, 0)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _wait_until_refused(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            pass  # the port was closed while this connection was made: the next one tells
        time.sleep(0.05)
    raise AssertionError("it takes new connections though it was told to stop")


def test_prometheus_has_a_port_of_its_own(folder: Path) -> None:
    """Not the one that the internet knows; a port that is taken is a misconfiguration."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = _environment(folder, GREENLIGHT_METRICS_PORT=str(port))
    with subprocess.Popen(_command("webhooks"), env=env, stderr=subprocess.DEVNULL) as process:
        _wait_for(f"http://127.0.0.1:{env['PORT']}/healthz")
        told = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics", retries=False, timeout=PATIENCE)
        assert 'greenlight_secret_used_total{file="github"' in told.data.decode()
        assert urllib3.request("GET", f"http://127.0.0.1:{env['PORT']}/metrics", timeout=PATIENCE).status == 404
        process.terminate()
        assert process.wait(PATIENCE) == 0
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        refused = subprocess.run(
            _command("webhooks"),
            env=_environment(folder, GREENLIGHT_METRICS_PORT=str(port)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert refused.returncode == 2, refused.stderr
    assert f"misconfigured\nGREENLIGHT_METRICS_PORT is {port}" in refused.stderr


ADAPTERS = {
    "webhooks": {"flask", "greenlight.webhooks", "greenlight.service.secrets"},
    "board": {"flask", "greenlight.board", "greenlight.service.people"},
    "recorder": {"cloudevents", "flask", "greenlight.recorder"},
    "promoter": {"cloudevents", "flask", "greenlight.promoter"},
    "deployer": {"cloudevents", "flask", "greenlight.deployer.app", "greenlight.deployer.drivers.command.driver"},
    "reconciler": {"cloudevents", "flask", "greenlight.reconciler"},
}
"""What only some services need, and which do; nobody needs what none of them names."""

SCARCE = re.compile(
    r"(flask|authlib|joserfc|cryptography|opentelemetry|gunicorn|waitress|rich|cloudevents|kubernetes|jsonschema"
    r"|greenlight\.(webhooks|board|recorder|promoter|reconciler|broker|entrypoints\.compose|service\.(secrets|people))"
    r"|greenlight\.deployer\.(app|clusters|rollout|drivers\.\w+\.driver))"  # what drivers declare is everybody's
    r"(?:\.|$)"
)


LEDGERS = {
    "sqlite": {"greenlight.ledger.sqlite.ledger", "greenlight.store.store", "sqlite3"},
    "dynamodb:greenlight": {"greenlight.ledger.dynamodb.ledger", "boto3", "botocore"},
}
"""What each ledger needs, and the other one does not."""


@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("service", ADAPTERS)
def test_a_service_loads_no_adapter_but_its_own(folder: Path, service: str, ledger: str) -> None:
    """Each costs up to a tenth of a second of the start, while an event waits for it."""
    script = (
        "import os, sys; from greenlight.entrypoints import serve; from greenlight.entrypoints.settings import Settings\n"
        "settings = Settings.from_env(os.environ); serve._check(sys.argv[1], settings); serve.app(sys.argv[1], settings)\n"
        "print(*sys.modules)"
    )
    nobody = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    env = _environment(folder, GREENLIGHT_LEDGER=ledger, AWS_ENDPOINT_URL_DYNAMODB="http://127.0.0.1:9", **nobody)
    done = subprocess.run(
        [sys.executable, "-c", script, service],
        env={name: value for name, value in env.items() if not name.startswith("OTEL_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    modules = set(done.stdout.split())
    assert {match[1] for match in map(SCARCE.match, modules) if match} == ADAPTERS[service]
    assert {name for needs in LEDGERS.values() for name in needs} & modules == LEDGERS[ledger]
