"""The example of the talk, played on a running Greenlight with really signed webhooks over real HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.events import rfc3339, types
from greenlight.events.http import from_http
from greenlight.lib import signing
from greenlight.lib.clock import Clock
from greenlight.lib.files import make_folder
from greenlight.lib.wsgi import headers_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from greenlight.entrypoints.compose import Folders, ThirdParties

REPO = "acme/hello"
SAMPLE = Path(__file__).with_name("sample")
PACE = 0.3
"""Seconds between two facts, so that a person can watch, and so that the waterfall has waiting in it."""

PEOPLE = """\
# Who may approve what. A token is made by: greenlight people token lena
people:
  lena:
    name: Lena
    emails: [lena@acme.example]
    groups: [legal]
    tokens: []
"""


class Watcher:
    """A third party on the Broker: a Trigger of the demo's own that gets every event."""

    def __init__(self) -> None:
        self._ended: dict[str, tuple[str, str | None]] = {}
        self._news = threading.Condition()

    def third_parties(self) -> ThirdParties:
        """Return the Trigger and the app that it calls."""
        from greenlight.entrypoints.compose import ThirdParties

        return ThirdParties([TriggerSpec.to_service("demo-watcher", "demo-watcher")], {"demo-watcher": self})

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Remember how deployments end."""
        event = from_http(headers_of(environ), environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        if event.type in types.ENDS:
            data = event.json()
            with self._news:
                self._ended[data["sha"]] = (data["outcome"], data.get("reason"))
                self._news.notify_all()
        start_response("202 Accepted", [])
        return []

    def end_of(self, sha: str, timeout: float) -> tuple[str, str | None] | None:
        """Return how the deployment of a commit ended, and why; None if it did not within `timeout` seconds."""
        with self._news:
            self._news.wait_for(lambda: sha in self._ended, timeout)
            return self._ended.get(sha)


@dataclass(frozen=True)
class _Demo:
    """The commit that is played, and requests about it, as its senders make them."""

    board: str
    webhooks: str
    folders: Folders
    token: str
    sha: str
    before: str
    clock: Clock
    http: urllib3.PoolManager

    def secret(self, name: str) -> bytes:
        return (self.folders.secrets / name).read_text(encoding="utf-8").splitlines()[0].encode()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        answer = self.http.request(
            "POST", url, body=body, headers={"Content-Type": "application/json", **headers}, retries=False
        )
        if answer.status != 202:
            raise RuntimeError(f"POST {url} was answered {answer.status}: {answer.data.decode(errors='replace')}")

    def github(self, event: str, payload: Mapping[str, Any]) -> None:
        body = json.dumps(payload).encode()
        signature = signing.github(self.secret("github"), body)
        self.post(f"{self.webhooks}/webhooks/github", body, {"X-GitHub-Event": event, "X-Hub-Signature-256": signature})

    def circleci(self, payload: Mapping[str, Any]) -> None:
        body = json.dumps(payload).encode()
        self.post(
            f"{self.webhooks}/webhooks/circleci",
            body,
            {
                "circleci-event-type": "workflow-completed",
                "circleci-signature": signing.circleci(self.secret("circleci"), body),
            },
        )

    def gate(self, name: str) -> None:
        now = self.clock.now()
        body = json.dumps({"repo": REPO, "sha": self.sha, "outcome": "passed", "at": rfc3339(now), "run": 1}).encode()
        id, stamp = f"demo-{name}-{self.sha[:12]}", int(now.timestamp())
        signature = signing.standard_webhooks(self.secret(f"gate-{name}"), id, stamp, body)
        headers = {"webhook-id": id, "webhook-timestamp": str(stamp), "webhook-signature": signature}
        self.post(f"{self.webhooks}/webhooks/gates/{name}", body, headers)

    def approve(self) -> None:
        body = json.dumps(
            {"application": "hello", "gate": "approval_from_legal", "comment": "licences are fine"}
        ).encode()
        url = f"{self.board}/api/v1/commits/{REPO}/{self.sha}/approvals"
        self.post(url, body, {"Authorization": f"Bearer {self.token}"})

    def get(self, path: str) -> dict[str, Any]:
        url = f"{self.board}/api/v1/commits/{REPO}/{self.sha}{path}"
        answer = self.http.request("GET", url, headers={"Authorization": f"Bearer {self.token}"})
        if answer.status != 200:
            raise RuntimeError(f"GET {path or 'the commit'} was answered {answer.status}: {answer.data.decode()}")
        document: dict[str, Any] = answer.json()
        return document


def prepare(data: Path) -> Path:
    """Return the demo's configuration folder, made on first use; the reader may edit it afterwards."""
    config = data / "config"
    if not (config / "pipeline.yaml").exists():
        make_folder(config)
        for name in ("pipeline.yaml", "deploy.py", "serve.py"):
            shutil.copy(SAMPLE / name, config / name)
        (config / "people.yaml").write_text(PEOPLE, encoding="utf-8")
    return config


def clean(folders: Folders) -> None:
    """End the sample application, which the demo's deployments started."""
    state = folders.config / "running.json"
    if state.exists():
        pid = json.loads(state.read_text(encoding="utf-8"))["pid"]
        if _runs(pid, folders.config / "serve.py"):
            os.kill(pid, signal.SIGTERM)
        state.unlink()


def _runs(pid: int, program: Path) -> bool:
    """Return whether that process is still that program.

    Another program may have its pid by now, and must not be ended.
    """
    try:
        return str(program.resolve()) in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def play(
    board: str,
    webhooks: str,
    folders: Folders,
    watcher: Watcher,
    clock: Clock,
    stopping: threading.Event,
    show_trace: Callable[[dict[str, Any]], None],
) -> int:
    """Play the example, print its result, and suggest what to try next. Returns 0: deployed; 1: not."""
    from greenlight.service.people_tokens import new_token  # whose library the pipeline does without

    now = clock.now()
    sha, before = (
        hashlib.sha1(f"{word} {now.isoformat()}".encode(), usedforsecurity=False).hexdigest() for word in ("a", "b")
    )
    token, http = new_token(folders.config / "people.yaml", "lena"), urllib3.PoolManager()
    demo = _Demo(board, webhooks, folders, token, sha, _head(board, token, http) or before, clock, http)
    for line, step in _steps(demo, now):
        if stopping.wait(PACE):
            return 0
        _say(line)
        step()
    end = watcher.end_of(sha, 60)
    if end is None or end[0] != "succeeded":
        _say(f"the deployment did not succeed: {end or 'no end within a minute'}; see {board}/commits/{REPO}/{sha}")
        return 1
    _report(demo, show_trace)
    _next(demo)
    return 0


def _head(board: str, token: str, http: urllib3.PoolManager) -> str | None:
    """Return the commit that an earlier demo left on main: a push on top of an unknown one would have a gap before it."""
    url = f"{board}/api/v1/commits?repo={REPO}&ref=refs/heads/main"
    answer = http.request("GET", url, headers={"Authorization": f"Bearer {token}"})
    found = json.loads(answer.data)["commits"] if answer.status == 200 else []
    return found[0]["sha"] if found else None


def _steps(demo: _Demo, now: datetime) -> list[tuple[str, Callable[[], None]]]:
    return [
        (f"GitHub: a push puts {demo.sha[:7]} on main of {REPO}", lambda: demo.github("push", push(demo, now))),
        (
            "CircleCI: the workflow build-test succeeded (com.circleci.buildsuccess)",
            lambda: demo.circleci(build(demo)),
        ),
        ("a scanner: the dependencies are fine", lambda: demo.gate("dependency_scan")),
        ("a scanner: the static code scan is fine", lambda: demo.gate("static_code_scan")),
        ("a scanner: the pages are accessible", lambda: demo.gate("accessibility_check")),
        ("lena, of the legal department, approves", demo.approve),
    ]


def push(demo: _Demo, now: datetime) -> dict[str, Any]:
    """Return the parts of GitHub's webhook for a push that Greenlight reads."""
    person = {"name": "A Developer", "email": "developer@acme.example", "username": "acme-developer"}
    commit = {
        "id": demo.sha,
        "tree_id": hashlib.sha1(demo.sha.encode(), usedforsecurity=False).hexdigest(),
        "message": "Say hello",
        "author": person,
        "committer": person,
        "added": [],
        "removed": [],
        "modified": ["hello.py"],
    }
    return {
        "ref": "refs/heads/main",
        "before": demo.before,
        "after": demo.sha,
        "deleted": False,
        "forced": False,
        "commits": [commit],
        "head_commit": commit,
        "pusher": {"name": "acme-developer", "email": "developer@acme.example"},
        "sender": {"login": "acme-developer", "id": 1, "type": "User"},
        "repository": {
            "id": 1,
            "full_name": REPO,
            "html_url": f"https://github.com/{REPO}",
            "pushed_at": int(now.timestamp()),
        },
    }


def build(demo: _Demo) -> dict[str, Any]:
    """Return the parts of CircleCI's webhook for a finished workflow that Greenlight reads: of a GitHub OAuth project."""
    url = f"https://github.com/{REPO}"
    vcs = {"origin_repository_url": url, "target_repository_url": url, "revision": demo.sha, "branch": "main"}
    return {
        "id": hashlib.md5(demo.sha.encode(), usedforsecurity=False).hexdigest(),
        "type": "workflow-completed",
        "happened_at": rfc3339(demo.clock.now()),
        "project": {"id": "demo", "name": "hello", "slug": f"github/{REPO}"},
        "workflow": {
            "id": f"workflow-{demo.sha[:12]}",
            "name": "build-test",
            "status": "success",
            "url": f"https://app.circleci.com/pipelines/github/{REPO}/1",
        },
        "pipeline": {"number": 1, "vcs": vcs},
    }


def slide_row(commit: Mapping[str, Any]) -> dict[str, str]:
    """Return the record as the slides show it: repo, branch, commit, and "TRUE" for every gate that is green."""
    gates = commit["applications"]["hello"]["gates"]
    branch = next((ref.removeprefix("refs/heads/") for ref in commit["refs"] if ref.startswith("refs/heads/")), "")
    row = {"repo": commit["repo"], "branch": branch, "commit": commit["sha"]}
    return row | {name: "TRUE" if gate["state"] == "passed" else "FALSE" for name, gate in gates.items()}


def _report(demo: _Demo, show_trace: Callable[[dict[str, Any]], None]) -> None:
    commit = demo.get("")
    deployment = commit["applications"]["hello"]["environments"]["production"]["deployment"]
    running = json.loads((demo.folders.config / "running.json").read_text(encoding="utf-8"))
    page = demo.http.request("GET", running["url"]).data.decode().strip()
    _say("\nthe record of the commit, as the talk showed it:")
    for key, value in slide_row(commit).items():
        _say(f'  {key}: "{value}"')
    _say(f"\npromotion.ready went out, and deployment {deployment['id']} {deployment['outcome']}")
    _say(f"  {running['url']} answers: {page}\n")
    show_trace(demo.get("/trace"))


def _next(demo: _Demo) -> None:
    here = f"GREENLIGHT_URL={demo.board} " if not demo.board.endswith(":8080") else ""
    greenlight = "greenlight" if shutil.which("greenlight") else os.path.relpath(sys.argv[0])
    _say(
        f"""
what to try next, in another terminal:
  {here}{greenlight} why {REPO} {demo.sha[:7]}
  {here}{greenlight} journal {REPO} {demo.sha[:7]} --verify
  {here}GREENLIGHT_TOKEN={demo.token} {greenlight} pause hello production --reason "going home"
  open {demo.board}/commits/{REPO}/{demo.sha}
and for your own repository: write config/pipeline.yaml (docs/policy.md), then `make up` runs that.
still running; Ctrl-C ends it
"""
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
