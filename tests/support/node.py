"""The node of tests/cluster/real for the tests marked `node`.

Greenlight runs there in containers; through the doors, tests see the containers' actions. Pods reach this machine at HOST
only.

* `Door`: DynamoDB as the pods know it. It can hold a pod in the middle of a step: at its next write, before DynamoDB has it or
  before the pod hears of it.
* `Sites`: where tests/real/overlay/deploy.py deploys to. It can hold a deployment, too.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import urllib3
from click.testing import CliRunner

from greenlight.cli.main import main
from greenlight.ledger.dynamodb import aws
from greenlight.ledger.dynamodb.client import Dynamo
from support.cluster import Cluster, Object, kubectl
from support.flow import REPO, TOKENS, sha_of
from support.process import signed

ROOT = Path(__file__).parents[2]
NODE = ROOT / "tests/cluster/real"
HOST = "198.51.100.1"
OVERLAY = ROOT / "tests/real/overlay"
DYNAMODB, SITES = 18300, 18301  # as it says
TABLE = "greenlight-node"  # so, too
NAMESPACE = "greenlight"
SHOP = "greenlight-shop"
"""What production is: the namespace of the release."""
PATIENCE = 240.0
"""Seconds that a test waits for what must come: the reconciler looks once a minute, and starts from zero."""

MISSING = [name for name in ("KUBECONFIG", "SERVICE_INGRESS") if not os.environ.get(name)]
"""What the environment lacks for the tests marked `node`."""

SECRETS = {
    "github": "github-secret-of-the-tests",
    "circleci": "circleci-secret-of-the-tests",
    "gate-scan": "whsec_c2NhbiBzZWNyZXQgb2YgdGhlIHRlc3Rz",
}
"""As in tests/real/overlay."""


def run(*words: str | Path, text: str | None = None, seconds: float = 600) -> str:
    """Return what a command prints. Fails with its whole output."""
    done = subprocess.run([*map(str, words)], input=text, capture_output=True, text=True, timeout=seconds, cwd=ROOT)
    assert done.returncode == 0, f"{' '.join(map(str, words))} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def pods(service: str) -> list[Object]:
    """Return the pods of a Knative Service that are not being deleted."""
    found = _cluster().items("v1", "Pod", NAMESPACE, f"serving.knative.dev/service={service}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


@functools.cache
def _cluster() -> Cluster:
    return Cluster.from_environment()


def until(holds: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until it holds, where no event reports it."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.2)


def asleep(*services: str) -> None:
    """Wait until Serving has scaled them to zero."""
    for service in services:
        until(functools.partial(lambda name: not pods(name), service), f"{service} is scaled to zero")


def kill(service: str) -> None:
    """End every process of the service with SIGKILL, and its pods without grace, as a node that dies."""
    inside = (NODE / "cluster", "enter")
    found = subprocess.run(
        [*map(str, inside), "pgrep", "-f", f"greenlight serve {service}"], capture_output=True, text=True
    )
    if found.stdout.split():
        subprocess.run([*map(str, inside), "kill", "-9", *found.stdout.split()], check=False)
    names = [pod["metadata"]["name"] for pod in pods(service)] or ["none"]
    kubectl("-n", NAMESPACE, "delete", "pod", *names, "--ignore-not-found", "--grace-period=0", "--force")


class _Held:
    """A thread that waits for the test, and a test that waits for it."""

    def __init__(self) -> None:
        self._caught, self._released = threading.Event(), threading.Event()

    def hold(self) -> None:
        self._caught.set()
        self._released.wait(PATIENCE)

    def wait(self) -> None:
        assert self._caught.wait(PATIENCE), "nobody came to what was to be held"

    def release(self) -> None:
        self._released.set()


@dataclass
class _Trap:
    service: str
    after: bool
    held: _Held = field(default_factory=_Held)


class Door:
    """A proxy to DynamoDB.

    A hold lasts until the test has killed the pod; then its connection is closed without an answer.
    """

    def __init__(self, dynamodb: str) -> None:
        self._http = urllib3.PoolManager(retries=False, timeout=30, maxsize=32)
        self._dynamodb = dynamodb
        self._trap: _Trap | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def holding(self, service: str, *, after: bool) -> Iterator[_Held]:
        """Hold the next write of one of the service's pods: before DynamoDB has it, or after."""
        trap = self._trap = _Trap(service, after)
        try:
            yield trap.held
        finally:
            self._trap = None
            trap.held.release()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        """Return DynamoDB's answer; None if nobody is to get it."""
        trap = self._sprung(handler)
        if trap and not trap.after:
            trap.held.hold()
            return None
        headers = {name: text for name, text in handler.headers.items() if name.lower() not in ("host", "connection")}
        answer = self._http.request("POST", self._dynamodb + handler.path, body=body, headers=headers)
        if trap:
            trap.held.hold()
            return None
        kept = ("content-type", "x-amzn-requestid", "x-amz-crc32")
        return answer.status, {name: text for name, text in answer.headers.items() if name.lower() in kept}, answer.data

    def _sprung(self, handler: BaseHTTPRequestHandler) -> _Trap | None:
        """Return the trap, if this is the write that it waits for: once."""
        operation = handler.headers.get("x-amz-target", "").rpartition(".")[2]
        if self._trap is None or operation not in ("TransactWriteItems", "PutItem", "UpdateItem", "BatchWriteItem"):
            return None
        with self._lock:
            trap = self._trap
            if trap is None or handler.client_address[0] not in [
                pod["status"].get("podIP") for pod in pods(trap.service)
            ]:
                return None
            self._trap = None
            return trap


@dataclass
class Sites:
    """The requested deployments, in order: environment, sha, deployment id, fence."""

    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    _held: _Held | None = None

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        environment, sha, id, fence = handler.path.strip("/").split("/")
        self.asked.append((environment, sha, id, fence))
        held, self._held = self._held, None
        if held:
            held.hold()
            return None
        return 200, {}, b"deployed\n"

    @contextlib.contextmanager
    def holding(self) -> Iterator[_Held]:
        """Hold the next deployment, and report its end to nobody."""
        held = self._held = _Held()
        try:
            yield held
        finally:
            self._held = None
            held.release()


@contextlib.contextmanager
def served(port: int, place: Door | Sites) -> Iterator[None]:
    """Serve an app to the pods."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            answer = place.answer(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *args: object) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the pod was killed, which is what the tests do

    server = Listener((HOST, port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def surroundings() -> Iterator[tuple[Door, Sites]]:
    """Set up what tests/real/overlay expects around it.

    These are the doors, a namespace to deploy to, and the rights there that the policy's own command gives. The table
    of the ledger, which the overlay makes, is removed afterwards.
    """
    door, sites = Door(os.environ["AWS_ENDPOINT_URL_DYNAMODB"]), Sites()
    with served(DYNAMODB, door), served(SITES, sites):
        kubectl("create", "namespace", SHOP)
        try:
            kubectl("apply", "-f", "-", text=_rights())
            yield door, sites
        finally:
            kubectl("delete", "namespace", SHOP)
            dynamo = Dynamo(aws.Service("dynamodb", aws.account()), TABLE)
            dynamo.call("UpdateTable", {"DeletionProtectionEnabled": False})
            dynamo.call("DeleteTable", {})


def _rights() -> str:
    """Return the Roles of the pipeline file in the overlay."""
    done = CliRunner().invoke(main, ["policy", "rbac", "--config", str(OVERLAY), "--cluster", "here"])
    assert done.exit_code == 0, done.output
    return done.output


class Pipeline:
    """Greenlight on the node, as senders and people reach it."""

    def __init__(self, folder: Path, door: Door, sites: Sites) -> None:
        self.folder, self.door, self.sites = folder, door, sites
        self._http = urllib3.PoolManager(retries=False, timeout=30)
        self._pushes, self._head = 0, "nothing"
        (folder / "secrets").mkdir()
        for name, text in SECRETS.items():
            (folder / "secrets" / name).write_text(f"{text}\n")

    def _address(self, service: str) -> tuple[str, str]:
        """Return where the ingress listens for a service, and the host by which it knows it."""
        if service == "webhooks":
            return os.environ["SERVICE_INGRESS"], f"webhooks.{NAMESPACE}.cluster.test"
        return os.environ["CLUSTER_LOCAL_INGRESS"], f"{service}.{NAMESPACE}.svc.cluster.local"

    def request(
        self, method: str, service: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        url, host = self._address(service)
        return self._http.request(method, url + path, body=body, headers={**(headers or {}), "Host": host})

    def send(self, kind: str, word: str) -> str:
        """Send a fact about the commit `word` until it is accepted, as senders do; return its id."""
        before = self._head
        if kind == "push":
            self._pushes, self._head = self._pushes + 1, word
        deadline = time.monotonic() + PATIENCE
        while True:
            service, path, body, headers = signed(self.folder, kind, word, at=self._pushes, before=before)
            answered: object
            try:
                answer = self.request("POST", service, path, body, headers)
                if answer.status == 202:
                    return str(answer.json()["id"])
                answered = (answer.status, answer.data)
                # An approval of a commit that is not recorded yet is asked for again, as a person would.
                assert answer.status >= 500 or (kind, answer.status) == ("approve", 404), (kind, answered)
            except urllib3.exceptions.HTTPError as problem:
                answered = problem
            assert time.monotonic() < deadline, f"{kind} of {word} was not accepted: {answered}"
            time.sleep(0.3)

    def facts(self, word: str, *kinds: str) -> None:
        for kind in kinds or ("push", "build", "scan", "approve"):
            self.send(kind, word)

    def read(self, path: str) -> dict[str, Any]:
        """Return what lena reads from the board's API."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                headers = {"Authorization": f"Bearer {TOKENS['lena']}"}
                answer = self.request("GET", "board", f"/api/v1{path}", headers=headers)
                if answer.status == 200:
                    document: dict[str, Any] = answer.json()
                    return document
                assert answer.status in (404, 502, 503, 504), answer.data
            assert time.monotonic() < deadline, f"the board does not tell {path}"
            time.sleep(0.3)

    def deployment(self, word: str, environment: str) -> dict[str, Any]:
        commit = self.read(f"/commits/{REPO}/{sha_of(word)}")
        if not commit["applications"]:
            return {}
        return commit["applications"]["shop"]["environments"][environment]["deployment"] or {}

    def shipped(self, word: str) -> None:
        """Wait until production runs the commit, deployed once to each environment.

        Staging was deployed to by a command with a single id, production by one revision of the release.
        """
        until(lambda: self.deployment(word, "production").get("outcome") == "succeeded", f"{word} runs in production")
        ids = {
            id for environment, sha, id, _ in list(self.sites.asked) if (environment, sha) == ("staging", sha_of(word))
        }
        assert ids == {self.deployment(word, "staging")["id"]}
        assert list(revisions().values()).count(self.deployment(word, "production")["id"]) == 1


def revisions() -> dict[int, str]:
    """Return which deployment made each revision of the release in production that came to run."""
    labels = [each["metadata"]["labels"] for each in _cluster().items("v1", "Secret", SHOP, "owner=helm")]
    ran = ("deployed", "superseded")
    return {int(each["version"]): each.get("greenlight/deployment", "") for each in labels if each["status"] in ran}


def skaffold(*words: str) -> str:
    """Run Skaffold in this checkout, without a look for updates."""
    assert shutil.which("skaffold"), "no skaffold: tests/cluster/cluster build skaffold"
    return run("skaffold", *words, "--update-check=false", seconds=1200)
