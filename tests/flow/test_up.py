"""`greenlight up` as a process: what it refuses to start with, what stops it, and what strangers cannot do to it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3

from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.entrypoints.compose import ThirdParties
from greenlight.events import Event, ids, types
from greenlight.events.build import as_fact
from greenlight.events.http import to_binary
from support.flow import REPO, Shop, sha_of
from support.process import Up, signed
from support.timing import PATIENCE


def _up(*arguments: str) -> subprocess.CompletedProcess[str]:
    listen = [word for name in ("listen", "webhooks-listen", "broker-listen") for word in (f"--{name}", "127.0.0.1:0")]
    return subprocess.run(
        [sys.executable, "-m", "greenlight.cli.main", "up", *listen, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_second_up_on_the_same_data_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    """Exit 2 with the pid of the first, which goes on."""
    Shop(tmp_path).stop()
    up = Up(tmp_path)
    second = _up("--config", str(tmp_path / "config"), "--data", str(tmp_path / "data"))
    assert second.returncode == 2
    assert str(up.process.pid) in second.stderr
    assert up.get("/commits") == {"commits": [], "next": None}
    assert up.stop() == 0


def test_without_a_pipeline_file_it_says_what_to_do(tmp_path: Path) -> None:
    """Exit 2, and the two ways on."""
    refused = _up("--config", str(tmp_path), "--data", str(tmp_path / "data"))
    assert refused.returncode == 2
    assert "pipeline.example.yaml" in refused.stderr
    assert "--demo" in refused.stderr


def test_a_wrong_pipeline_file_is_named_with_its_line(tmp_path: Path) -> None:
    """Exit 2; nothing was started."""
    (tmp_path / "pipeline.yaml").write_text("apiVersion: greenlight/v1\nkind: Pipeline\napplications:\n  - nam: shop\n")
    refused = _up("--config", str(tmp_path), "--data", str(tmp_path / "data"))
    assert refused.returncode == 2
    assert "pipeline.yaml:4" in refused.stderr


def test_whatever_is_in_the_way_of_the_start_is_said_without_a_traceback(tmp_path: Path) -> None:
    """Exit 2; to what it happened, and what to do."""
    Shop(tmp_path).stop()
    config, data = str(tmp_path / "config"), tmp_path / "data"

    def refused(*arguments: str) -> str:
        result = _up("--config", config, *arguments)
        assert (result.returncode, "Traceback" in result.stderr) == (2, False), result.stderr
        return result.stderr

    (tmp_path / "file").touch()
    assert "file: cannot be the data folder: File exists. Name another with --data" in refused(
        "--data", str(tmp_path / "file")
    )
    for address in ("8080", ":8080", "127.0.0.1:99999", "127.0.0.1:http"):
        assert f"'{address}' is not HOST:PORT" in refused("--data", str(data), "--listen", address)
    other = tmp_path / "other"
    other.mkdir()
    (other / "greenlight.db").write_text("this is no database, and long enough to be seen as none" * 100)
    assert "choose another data folder" in refused("--data", str(other))


def test_it_can_listen_on_ipv6(tmp_path: Path) -> None:
    """And says so as a URL is written."""
    Shop(tmp_path).stop()
    up = Up(tmp_path, "--listen", "[::1]:0")
    assert up.board.startswith("http://[::1]:")
    assert up.get("/commits")["commits"] == []
    assert up.stop() == 0


def test_a_gate_that_an_edit_adds_gets_its_secret(tmp_path: Path) -> None:
    """Without a restart, and though nothing arrives meanwhile."""
    Shop(tmp_path).stop()
    up = Up(tmp_path)
    pipeline = tmp_path / "config" / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("{webhook: scan}", "{webhook: scan}\n      lint: {webhook: lint}"))
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "secrets" / "gate-lint").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert (tmp_path / "secrets" / "gate-lint").read_text().startswith("whsec_")
    assert up.stop() == 0


def test_a_closed_terminal_is_a_stop_in_order(tmp_path: Path) -> None:
    """Exit 0 with everything closed, as by SIGTERM."""
    Shop(tmp_path).stop()
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run without a terminal
    up = Up(tmp_path)
    signal.signal(signal.SIGHUP, before)
    assert up.stop(signal.SIGHUP) == 0
    assert not (tmp_path / "data" / "greenlight.db-wal").exists()


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "| true"])
def test_an_output_that_nobody_can_read_keeps_nothing_from_starting(tmp_path: Path, redirection: str) -> None:
    """A full disk, a service manager without one, a pipe whose reader went: it serves, and stops in order."""
    Shop(tmp_path).stop()
    with socket.create_server(("127.0.0.1", 0)) as free:
        board = "{}:{}".format(*free.getsockname())
    listen = f"--listen {board} --webhooks-listen 127.0.0.1:0 --broker-listen 127.0.0.1:0"
    command = f"{sys.executable} -m greenlight.cli.main up --config config --data data {listen}"
    pid, log = tmp_path / "pid", tmp_path / "log"
    script = f"{{ echo $BASHPID >{pid}; exec {command} 2>{log}; }} {redirection}; exit ${{PIPESTATUS[0]}}"
    with subprocess.Popen(["bash", "-c", script], cwd=tmp_path) as process:
        ready = urllib3.Retry(total=None, connect=300, backoff_factor=0.1, backoff_max=0.1)
        assert urllib3.request("GET", f"http://{board}/readyz", retries=ready).status == 200
        os.kill(int(pid.read_text()), signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def test_an_empty_secret_file_stops_the_start(tmp_path: Path) -> None:
    """No secret configured means refuse to start, never skip the check."""
    Shop(tmp_path).stop()
    secrets = tmp_path / "data" / "secrets"
    secrets.mkdir(parents=True, exist_ok=True)
    (secrets / "github").write_text("\n \r\n")
    refused = _up("--config", str(tmp_path / "config"), "--data", str(tmp_path / "data"))
    assert refused.returncode == 2
    assert "holds no secret" in refused.stderr


def test_row_49_a_forged_event_moves_nothing(tmp_path: Path) -> None:
    """promotion.ready, a build and an approval posted straight to the Broker, as facts and not: no effect."""
    shop = Shop(tmp_path).start()
    shop.push("one")
    shop.settle()
    sha, now = sha_of("one"), shop.greenlight.clock.now()
    promotion = ids.derive("promotion", "shop", "staging", sha, 0)
    about = {"repo": REPO, "sha": sha, "application": "shop", "environment": "staging"}
    forged = [
        (types.PROMOTION_READY, {**about, "promotion": promotion, "n": 0, "cause": "automatic", "policy": "sha256:0"}),
        (
            types.DEPLOYMENT_SUCCEEDED,
            {**about, "deployment": promotion, "n": 0, "cause": "automatic", "outcome": "succeeded"},
        ),
        (types.COMMIT_RECORDED, about),
        ("com.circleci.buildsuccess", {**about, "signal": "circleci.workflow#p:build-test", "outcome": "passed"}),
        (types.APPROVAL_GRANTED, {**about, "gate": "legal", "person": "lena"}),
    ]
    for type, data in forged:
        event = Event.of(type, id=f"forged-{type}", source="x", time=now, data=data)
        shop.greenlight.broker.publish(event)
        shop.greenlight.broker.publish(as_fact(replace(event, id=f"forged-fact-{type}")))
    shop.settle()
    assert shop.deployed() == []
    assert shop.environment("one", "staging")["decision"] == "waiting"
    assert shop.greenlight.broker.dead_letters() == []
    shop.stop()


def test_strangers_on_the_broker_change_nothing(tmp_path: Path) -> None:
    """One that hangs, one that fails, one that answers nonsense: the commit ships, and each was told of it."""
    go, told = threading.Event(), set()

    def stranger(name: str, status: str, body: bytes, *, hangs: bool = False) -> Any:
        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            told.add(name)
            if hangs:
                assert go.wait(PATIENCE)
            start_response(status, [("Content-Type", "text/plain")])
            return [body]

        return app

    services = {
        "hanging": stranger("hanging", "202 Accepted", b"", hangs=True),
        "failing": stranger("failing", "500 Oops", b"no"),
        "babbling": stranger("babbling", "200 OK", b"not an event"),
    }
    shop = Shop(tmp_path, ThirdParties([TriggerSpec.to_service(name, name) for name in services], services)).start()
    shop.push("one")
    shop.build("one")
    assert shop.watch.end("staging", sha_of("one"))["outcome"] == "succeeded"
    assert told == set(services)
    go.set()
    shop.greenlight.stop(10)


def test_events_can_be_posted_to_the_brokers_port(tmp_path: Path) -> None:
    """Another program's event is taken durably, with 202 and no body; what is no event is refused."""
    Shop(tmp_path).stop()
    up = Up(tmp_path)
    headers, body = to_binary(Event(id="1", source="tests", type="com.example.hello"))
    url = f"{up.broker}/greenlight/default"
    answer = urllib3.request("POST", url, headers=headers, body=body, retries=False)
    assert (answer.status, answer.data) == (202, b"")
    assert urllib3.request("POST", url, headers={"ce-id": "1"}, body=b"x", retries=False).status == 400
    assert up.stop() == 0


def test_whatever_is_in_the_data_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Also what an older version left open, and with a umask that takes nothing away."""
    Shop(tmp_path).stop()
    data = tmp_path / "data"
    for path in [data, *data.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    umask = os.umask(0)
    try:
        up = Up(tmp_path)
    finally:
        os.umask(umask)
    for kind in ("push", "build"):
        _, path, body, headers = signed(tmp_path, kind, "one")
        assert up.http.request("POST", f"{up.webhooks}{path}", body=body, headers=headers).status == 202
    deadline = time.monotonic() + PATIENCE
    while not up.get("/targets/shop/staging")["running"]:
        assert time.monotonic() < deadline, "it was not deployed"
        time.sleep(0.1)
    modes = {
        path.relative_to(data).as_posix(): (path.stat().st_mode & 0o777, path.is_dir()) for path in data.rglob("*")
    }
    assert {"greenlight.db", "greenlight.db-wal", "greenlight.db-shm"} <= modes.keys()
    assert "deployer/output/shop--staging.log" in modes
    assert {name: oct(mode) for name, (mode, folder) in modes.items() if mode != (0o700 if folder else 0o600)} == {}
    assert oct(data.stat().st_mode & 0o777) == "0o700"
    assert up.stop() == 0


def test_a_webhook_may_come_in_chunks_and_may_not_come_packed(tmp_path: Path) -> None:
    """As tunnels send it, over a real connection: bounded by its own route, whatever the port takes."""
    Shop(tmp_path).stop()
    up = Up(tmp_path)

    def post(path: str, pieces: Iterable[bytes], headers: dict[str, str]) -> int:
        link = http.client.HTTPConnection(up.webhooks.removeprefix("http://"), timeout=PATIENCE)
        link.request("POST", path, iter(pieces), headers | {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        status = link.getresponse().status
        link.close()
        return status

    _, path, body, headers = signed(tmp_path, "push", "one")
    assert post(path, (body[:100], body[100:]), headers) == 202
    assert post(path, (body,), headers | {"Content-Encoding": "gzip"}) == 415
    assert post("/webhooks/gates/scan", [b"x" * (1 << 16)] * 17, headers) == 413
    _recorded(up, "one")
    assert up.stop() == 0


def _recorded(up: Up, word: str) -> None:
    """Wait until the commit is recorded, and see that it is the only one."""
    deadline = time.monotonic() + PATIENCE
    while not (found := up.get("/commits")["commits"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [commit["sha"] for commit in found] == [sha_of(word)]


def test_events_of_web_pages_are_refused(tmp_path: Path) -> None:
    """At the broker's port nobody says who he is: an Origin or a foreign name in Host is 403, and nothing is taken."""
    Shop(tmp_path).stop()
    up = Up(tmp_path)
    headers, body = to_binary(Event(id="1", source="tests", type="com.example.hello"))
    for page in ({"Origin": "null"}, {"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        answer = urllib3.request(
            "POST", f"{up.broker}/greenlight/default", headers=headers | page, body=body, retries=False
        )
        assert answer.status == 403
    assert up.get("/events?id=1") == {"events": []}
    assert up.stop() == 0


SLOWLY = """
import sys, time
from greenlight.service import server
start = server.Server.start
def slowly(self):
    time.sleep(0 if self._thread.name == "board-server" else 0.7)
    start(self)
server.Server.start = slowly
from greenlight.cli.main import main
sys.exit(main())
"""


def test_readyz_is_200_only_once_every_port_listens(tmp_path: Path) -> None:
    """Whoever waits for it posts at once."""
    Shop(tmp_path).stop()
    ports = [_free_port() for _ in range(3)]
    names = ("--listen", "--webhooks-listen", "--broker-listen")
    listen = [word for name, port in zip(names, ports, strict=True) for word in (name, f"127.0.0.1:{port}")]
    folders = ["--config", str(tmp_path / "config"), "--data", str(tmp_path / "data")]
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, "up", *folders, *listen], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while not _ready(ports[0]):
        assert time.monotonic() < deadline
        assert process.poll() is None
    for port in ports[1:]:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    process.terminate()
    assert process.wait(PATIENCE) == 0


BROKEN = """
import pathlib, sys
from greenlight.service import server
readable = server.Waitress.readable
def broken(self):
    if self.adj.limits.body > 1 << 20 and pathlib.Path(sys.argv[-1], "break").exists():
        raise RuntimeError("a defect")
    return readable(self)
server.Waitress.readable = broken
from greenlight.cli.main import main
sys.exit(main())
"""


def test_a_port_whose_server_fails_ends_the_process(tmp_path: Path) -> None:
    """So that it is started again: the others would go on saying that all is well."""
    Shop(tmp_path).stop()
    ports = [_free_port() for _ in range(3)]
    names = ("--listen", "--webhooks-listen", "--broker-listen")
    listen = [word for name, port in zip(names, ports, strict=True) for word in (name, f"127.0.0.1:{port}")]
    folders = ["--config", str(tmp_path / "config"), "--data", str(tmp_path / "data")]
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", BROKEN, "up", *listen, *folders], stdout=subprocess.DEVNULL, stderr=log
        )
        deadline = time.monotonic() + 60
        while not _ready(ports[0]):
            assert time.monotonic() < deadline
            assert process.poll() is None
        (tmp_path / "data" / "break").touch()
        assert process.wait(60) == 1
    said = (tmp_path / "up.log").read_text()
    assert "a defect" in said
    assert "does not listen any more" in said


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _ready(port: int) -> bool:
    try:
        return urllib3.request("GET", f"http://127.0.0.1:{port}/readyz", retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def test_row_55_idle_clients_do_not_use_up_what_a_webhook_needs(tmp_path: Path) -> None:
    """With 160 files allowed and 400 idle connections at each port, a rightly signed webhook is taken."""
    Shop(tmp_path).stop()
    up = Up(tmp_path, files=160)
    idle = []
    for url in (up.board, up.webhooks, up.broker):
        host, port = url.removeprefix("http://").split(":")
        idle += [socket.create_connection((host, int(port)), timeout=PATIENCE) for _ in range(400)]
    for number in range(5):
        _, path, body, headers = signed(tmp_path, "push", f"word {number}", at=number)
        answer = urllib3.request(
            "POST", up.webhooks + path, body=body, headers=headers, retries=False, timeout=PATIENCE
        )
        assert answer.status == 202, answer.data
    assert urllib3.request("GET", f"{up.board}/readyz", retries=False, timeout=PATIENCE).status == 200
    for connection in idle:
        connection.close()
    assert up.stop() == 0


def test_a_backup_that_reads_keeps_it_from_nothing(tmp_path: Path) -> None:
    """Killed and started again while another program reads the database."""
    Shop(tmp_path).stop()
    up = Up(tmp_path)
    _, path, body, headers = signed(tmp_path, "push", "one")
    with closing(sqlite3.connect(tmp_path / "data" / "greenlight.db")) as backup:
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM facts").fetchone()
        assert urllib3.request("POST", up.webhooks + path, body=body, headers=headers, retries=False).status == 202
        up.kill()
        up = Up(tmp_path)
        _recorded(up, "one")
    assert up.stop() == 0


def test_what_is_wrong_with_an_edit_is_in_the_log_though_nothing_arrives(tmp_path: Path) -> None:
    """With its line, in every file that operators edit."""
    Shop(tmp_path).stop()
    up = Up(tmp_path)
    names = ("pipeline.yaml", "people.yaml", "feedback.yaml")
    for name in names:
        (tmp_path / "config" / name).write_text("first: line\n\t- tab\n")
    deadline = time.monotonic() + PATIENCE
    while not all(f"{name}:2: is not YAML" in (tmp_path / "up.log").read_text() for name in names):
        assert time.monotonic() < deadline, (tmp_path / "up.log").read_text()
        time.sleep(0.2)  # the log of another process: nothing tells when a line has come
    assert up.stop() == 0


def test_secrets_that_are_away_are_in_the_log_though_nothing_arrives(tmp_path: Path) -> None:
    """What was last read stays in force, and an edit that names a sender makes no folder of its own."""
    Shop(tmp_path).stop()
    up = Up(tmp_path)
    _, path, body, headers = signed(tmp_path, "push", "one")
    (tmp_path / "secrets").rename(tmp_path / "away")
    pipeline = tmp_path / "config" / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("{webhook: scan}", "{webhook: scan}\n      lint: {webhook: lint}"))
    deadline = time.monotonic() + PATIENCE
    while not {"cannot be read", "no secret can be added"} <= _said(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert not (tmp_path / "secrets").exists()
    assert urllib3.request("POST", up.webhooks + path, body=body, headers=headers, retries=False).status == 202
    (tmp_path / "away").rename(tmp_path / "secrets")
    while not (tmp_path / "secrets" / "gate-lint").exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert up.stop() == 0


def _said(folder: Path) -> set[str]:
    log = (folder / "up.log").read_text()
    return {words for words in ("cannot be read", "no secret can be added") if words in log}
