"""A GitHub on this machine: the part of its API that feedback uses, with faults on demand.

Where GREENLIGHT_GITHUB_OPENAPI names the folder of the npm package @octokit/openapi, each request and each answer is held to
GitHub's own description of its API.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from support.openapi import Description

OPENAPI = os.environ.get("GREENLIGHT_GITHUB_OPENAPI")
APP = 4711
INSTALLATION = 99
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

Answer = tuple[int, Any]


@cache
def description() -> Description | None:
    """Return GitHub's description of its API, where it is there."""
    return Description(Path(OPENAPI) / "generated/api.github.com.json") if OPENAPI else None


@cache
def private_key() -> str:
    """Return an RSA key of the tests, as GitHub gives one to the owner of an App."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return pem.decode()


@dataclass
class FakeGitHub:
    """One GitHub, listening. Its lists grow with what it was told."""

    token: str = "a-token-of-the-tests"
    checks: dict[int, dict[str, Any]] = field(default_factory=dict)
    deployments: dict[int, dict[str, Any]] = field(default_factory=dict)
    history: list[tuple[str, ...]] = field(default_factory=list)  # every change of a check, status or deployment
    statuses: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)  # of the App, newest first
    hook_deliveries: list[dict[str, Any]] = field(default_factory=list)  # of the repository's webhook
    runs: list[dict[str, Any]] = field(default_factory=list)  # of workflows
    branches: dict[str, str] = field(default_factory=dict)  # the commit at the head of each, by name
    activity: list[dict[str, Any]] = field(default_factory=list)  # pushes to branches, newest first
    readable: bool = True  # whether its contents may be read
    redelivered: list[int] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # deviations from the description
    faults: deque[str] = field(default_factory=deque)  # of the next requests
    headers: dict[str, str] = field(default_factory=dict)  # of a refusal for its rate
    hold: Callable[[str, str], None] | None = None  # called after the effect, before the answer
    installed: bool = True
    deliver: Callable[[int], None] | None = None  # called for a redelivery
    ahead: timedelta = timedelta(0)  # of its clock

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.news = threading.Condition(self.lock)
        self.tokens: dict[str, str] = {}
        self._ids = iter(range(1000, 1 << 30))
        handler = type("Handler", (_Handler,), {"github": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening; what was not as GitHub describes it fails the test."""
        self.server.shutdown()
        self.server.server_close()
        assert self.problems == []

    def fail(self, *kinds: str) -> None:
        """Let requests fail: 500, cut, limited, not-json; or be done with no answer (lost) or an endless one (slow)."""
        self.faults.extend(kinds)

    def until(self, seen: Callable[[], Any], timeout: float = 60) -> Any:
        """Wait until something holds that a request changes."""
        with self.news:
            found = self.news.wait_for(seen, timeout)
        assert found, self.history
        return found

    def check(self, sha: str, name: str) -> dict[str, Any]:
        """Return the newest check of that name."""
        return max(
            (it for it in self.checks.values() if (it["head_sha"], it["name"]) == (sha, name)), key=lambda it: it["id"]
        )

    def told(self, sha: str, kind: str) -> list[tuple[str, ...]]:
        """Return the history of a commit's checks, statuses or deployments, without those that repeat the one before."""
        return [it[2:] for it in self.history if it[:2] == (kind, sha)]

    # what is asked

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        """Return the answer to a request that may be made."""
        for verb, pattern, handle in _ROUTES:
            found = re.fullmatch(pattern, path)
            if verb == method and found:
                return handle(self, *found.groups(), **({"query": query} if verb == "GET" else {"body": body}))
        return 404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}

    def new_id(self) -> int:
        return next(self._ids)

    def installation(self, repo: str, query: dict[str, str]) -> Answer:
        if not self.installed:
            return 404, {"message": "Not Found", "documentation_url": ""}
        return 200, _installation()

    def access_token(self, number: str, body: Any) -> Answer:
        token = f"ghs_{self.new_id()}"
        self.tokens[token] = number
        expires = (datetime.now(UTC) + self.ahead + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return 201, {"token": token, "expires_at": expires, "permissions": {"checks": "write"}}

    def check_runs(self, repo: str, sha: str, query: dict[str, str]) -> Answer:
        found = [it for it in self.checks.values() if it["head_sha"] == sha]
        found = [it for it in found if query.get("check_name") in (None, it["name"])]
        return 200, {"total_count": len(found), "check_runs": found}

    def create_check(self, repo: str, body: Any) -> Answer:
        run = _check_run(self.new_id(), repo, body["head_sha"], self.url)
        self.checks[run["id"]] = run
        return 201, self._changed(run, body)

    def update_check(self, repo: str, number: str, body: Any) -> Answer:
        if int(number) not in self.checks:
            return 404, {"message": "Not Found"}
        return 200, self._changed(self.checks[int(number)], body)

    def _changed(self, run: dict[str, Any], body: Any) -> dict[str, Any]:
        simple = {
            key: body[key] for key in ("name", "external_id", "status", "conclusion", "details_url") if key in body
        }
        run.update(simple)
        if "conclusion" not in body:
            run["conclusion"] = None
        run["completed_at"] = _stamp() if run["status"] == "completed" else None
        run["output"].update(body.get("output", {}))
        self.history.append(
            ("check", run["head_sha"], run["name"], run["status"], run["conclusion"], run["output"]["title"])
        )
        return run

    def reported(self, sha: str, name: str, conclusion: str = "success", *, age: float = 600) -> dict[str, Any]:
        """Add a check of another App, completed `age` seconds ago."""
        run = _check_run(self.new_id(), "acme/shop", sha, self.url)
        at = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
        run |= {"name": name, "status": "completed", "conclusion": conclusion, "completed_at": at, "started_at": at}
        run |= {"app": {**_app(), "id": 15368, "slug": "github-actions"}}
        run |= {"html_url": f"https://github.com/acme/shop/runs/{run['id']}"}
        self.checks[run["id"]] = run
        return run

    def check_suites(self, repo: str, sha: str, query: dict[str, str]) -> Answer:
        return 200, {"total_count": 1, "check_suites": [_suite(sha, self.url)]}

    def workflow_runs(self, repo: str, query: dict[str, str]) -> Answer:
        found = [it for it in self.runs if it["head_sha"] == query.get("head_sha")]
        return 200, {"total_count": len(found), "workflow_runs": found}

    def create_status(self, repo: str, sha: str, body: Any) -> Answer:
        status = _status(self.new_id(), repo, sha, body, self.url)
        self.statuses.append(status)
        self.history.append(("status", sha, body["context"], body["state"], body["description"]))
        return 201, status

    def list_statuses(self, repo: str, sha: str, query: dict[str, str]) -> Answer:
        return 200, [it for it in reversed(self.statuses) if it["url"].endswith(sha)]

    def create_deployment(self, repo: str, body: Any) -> Answer:
        assert body["required_contexts"] == []
        assert body["auto_merge"] is False
        deployment = _deployment(self.new_id(), repo, body, self.url)
        self.deployments[deployment["id"]] = deployment
        self.history.append(("deployment", body["ref"], body["environment"], "created"))
        return 201, deployment

    def list_deployments(self, repo: str, query: dict[str, str]) -> Answer:
        found = [it for it in self.deployments.values() if query.get("sha") in (None, it["sha"])]
        return 200, [it for it in reversed(found) if query.get("environment") in (None, it["environment"])]

    def create_state(self, repo: str, number: str, body: Any) -> Answer:
        deployment = self.deployments[int(number)]
        self.history.append(("deployment", deployment["sha"], deployment["environment"], body["state"]))
        return 201, _deployment_status(self.new_id(), deployment, body, self.url)

    def listed(self, path: str) -> list[dict[str, Any]]:
        """Return the deliveries that a path lists."""
        return self.deliveries if path.startswith("/app/") else self.hook_deliveries

    def list_deliveries(self, query: dict[str, str]) -> Answer:
        return 200, _page(self.deliveries, query)

    def list_hook_deliveries(self, repo: str, hook: str, query: dict[str, str]) -> Answer:
        return 200, _page(self.hook_deliveries, query)

    def redeliver(self, number: str, body: Any) -> Answer:
        self.redelivered.append(int(number))
        if self.deliver is not None:
            self.deliver(int(number))
        return 202, {}

    def redeliver_hook(self, repo: str, hook: str, number: str, body: Any) -> Answer:
        return self.redeliver(number, body)

    def moved(self, branch: str, sha: str | None, *, age: float = 1200, listed: bool = True) -> None:
        """Move a branch, or delete it, `age` seconds ago; `listed`: among the newest activities."""
        before = self.branches.pop(branch, None)
        if sha is not None:
            self.branches[branch] = sha
        if listed:
            self.activity.insert(0, _activity(self.new_id(), branch, before, sha, age - self.ahead.total_seconds()))

    def matching_refs(self, repo: str, begin: str, query: dict[str, str]) -> Answer:
        found = {f"heads/{name}": sha for name, sha in self.branches.items()}
        return 200, [_ref(ref, sha, self.url) for ref, sha in sorted(found.items()) if ref.startswith(unquote(begin))]

    def activities(self, repo: str, query: dict[str, str]) -> Answer:
        return 200, self.activity[: int(query.get("per_page", 30))]

    def hooks(self, repo: str, query: dict[str, str]) -> Answer:
        return 200, [_hook(self.url, repo)]


def _page(listed: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    begin, size = int(query.get("cursor") or 0), int(query.get("per_page", 30))
    return listed[begin : begin + size]


_REPO, _SHA = "/repos/([^/]+/[^/]+)", "([0-9a-f]{40})"
_ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", f"{_REPO}/installation", FakeGitHub.installation),
    ("POST", "/app/installations/([0-9]+)/access_tokens", FakeGitHub.access_token),
    ("GET", f"{_REPO}/commits/{_SHA}/check-runs", FakeGitHub.check_runs),
    ("GET", f"{_REPO}/commits/{_SHA}/check-suites", FakeGitHub.check_suites),
    ("GET", f"{_REPO}/actions/runs", FakeGitHub.workflow_runs),
    ("GET", f"{_REPO}/commits/{_SHA}/statuses", FakeGitHub.list_statuses),
    ("POST", f"{_REPO}/check-runs", FakeGitHub.create_check),
    ("PATCH", f"{_REPO}/check-runs/([0-9]+)", FakeGitHub.update_check),
    ("POST", f"{_REPO}/statuses/{_SHA}", FakeGitHub.create_status),
    ("POST", f"{_REPO}/deployments", FakeGitHub.create_deployment),
    ("GET", f"{_REPO}/deployments", FakeGitHub.list_deployments),
    ("POST", f"{_REPO}/deployments/([0-9]+)/statuses", FakeGitHub.create_state),
    ("GET", "/app/hook/deliveries", FakeGitHub.list_deliveries),
    ("POST", "/app/hook/deliveries/([0-9]+)/attempts", FakeGitHub.redeliver),
    ("GET", f"{_REPO}/git/matching-refs/([^/]+)", FakeGitHub.matching_refs),
    ("GET", f"{_REPO}/activity", FakeGitHub.activities),
    ("GET", f"{_REPO}/hooks", FakeGitHub.hooks),
    ("GET", f"{_REPO}/hooks/([0-9]+)/deliveries", FakeGitHub.list_hook_deliveries),
    ("POST", f"{_REPO}/hooks/([0-9]+)/deliveries/([0-9]+)/attempts", FakeGitHub.redeliver_hook),
]


class _Handler(BaseHTTPRequestHandler):
    github: FakeGitHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PATCH(self) -> None:
        self._handle("PATCH")

    def _handle(self, method: str) -> None:
        github, parts = self.github, urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw else None
        query = dict(parse_qsl(parts.query))
        with github.lock:
            fault = github.faults.popleft() if github.faults else ""
            if fault in ("500", "limited", "not-json", "cut"):
                github.requests.append((method, parts.path, 0))
                github.news.notify_all()
        if fault == "cut":
            self.close_connection = True
            return
        if fault == "500":
            return self._send(500, {"message": "Server Error"})
        if fault == "limited":
            return self._send(403, {"message": "You have exceeded a secondary rate limit"}, github.headers)
        if fault == "not-json":
            return self._send(200, b"<html>")
        status, value = self._answered(method, parts.path, query, body)
        if github.hold is not None:
            github.hold(method, parts.path)
        with github.lock:
            content = json.dumps(value).encode() if value is not None else b""
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            if method == "GET" and status == 200 and self.headers.get("If-None-Match") == tag:
                status, content = 304, b""
            github.requests.append((method, parts.path, status))
            github.news.notify_all()
        if fault == "lost":
            self.close_connection = True
            return
        if fault == "slow":
            return self._trickle(status)
        more = {"ETag": tag, "x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999"}
        if method == "GET" and parts.path.endswith("/deliveries"):
            size, begin = int(query.get("per_page", 30)), int(query.get("cursor") or 0)
            if begin + size < len(github.listed(parts.path)):
                more["Link"] = f'<{github.url}{parts.path}?per_page={size}&cursor={begin + size}>; rel="next"'
        self._send(status, content, more)

    def _answered(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        github = self.github
        with github.lock:
            if not self._may(path):
                return 401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"}
            if not github.readable and "/git/" in path:
                return 403, {"message": "Resource not accessible by integration", "documentation_url": ""}
            if (found := description()) is not None:
                github.problems += found.request(method, path, query, body)
            status, value = github.answer(method, path, query, body)
            value = json.loads(json.dumps(value))
            if found is not None:
                github.problems += found.answer(method, path, status, value)
            return status, value

    def _may(self, path: str) -> bool:
        """Who may what: an App's JWT for what is about the App, tokens for repositories; only Apps have checks."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if path.startswith("/app/") or path.endswith("/installation"):
            return _is_app(token, datetime.now(UTC) + self.github.ahead)
        if "/check-runs" in path and self.command != "GET":
            return token in self.github.tokens
        return token in self.github.tokens or token == self.github.token

    def _trickle(self, status: int) -> None:
        """Send a byte of the answer every now and then, until the client has had enough."""
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.2)

    def _send(self, status: int, value: Any, more: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in (more or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _is_app(token: str, at: datetime) -> bool:
    from joserfc import jwt
    from joserfc.jwk import RSAKey

    try:
        claims = jwt.decode(token, RSAKey.import_key(private_key()), algorithms=["RS256"]).claims
    except Exception:
        return False
    now = at.timestamp()
    return claims["iss"] == str(APP) and claims["iat"] <= now < claims["exp"] <= now + 600


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _user(login: str = "acme") -> dict[str, Any]:
    at = f"https://api.github.com/users/{login}"
    urls = ["followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events"]
    return {
        "login": login, "id": 1, "node_id": "n", "avatar_url": at, "gravatar_id": "", "url": at, "html_url": at,
        **{f"{name}_url": at for name in (*urls, "received_events")}, "type": "Organization", "site_admin": False,
    }  # fmt: skip


def _app() -> dict[str, Any]:
    return {
        "id": APP, "slug": "greenlight-acme", "node_id": "n", "client_id": "c", "owner": _user(), "name": "Greenlight",
        "description": "", "external_url": "https://example.com", "html_url": "https://github.com/apps/greenlight-acme",
        "created_at": _stamp(), "updated_at": _stamp(), "permissions": {"checks": "write"}, "events": ["push"],
    }  # fmt: skip


def _installation() -> dict[str, Any]:
    at = "https://api.github.com/app"
    return {
        "id": INSTALLATION, "account": _user(), "repository_selection": "selected", "access_tokens_url": at,
        "repositories_url": at, "html_url": at, "app_id": APP, "client_id": "c", "target_id": 1,
        "target_type": "Organization", "permissions": {"checks": "write"}, "events": ["push"], "created_at": _stamp(),
        "updated_at": _stamp(), "single_file_name": None, "app_slug": "greenlight-acme", "suspended_by": None,
        "suspended_at": None,
    }  # fmt: skip


def _check_run(id: int, repo: str, sha: str, url: str) -> dict[str, Any]:
    at = f"{url}/repos/{repo}/check-runs/{id}"
    return {
        "id": id, "head_sha": sha, "node_id": "n", "external_id": "", "url": at, "html_url": at, "details_url": None,
        "status": "queued", "conclusion": None, "started_at": _stamp(), "completed_at": None, "name": "",
        "output": {"title": None, "summary": None, "text": None, "annotations_count": 0, "annotations_url": at},
        "check_suite": {"id": 5}, "app": _app(), "pull_requests": [],
    }  # fmt: skip


def _suite(sha: str, url: str) -> dict[str, Any]:
    return {
        "id": 5, "node_id": "n", "head_branch": "main", "head_sha": sha, "status": "completed", "conclusion": "success",
        "url": url, "before": None, "after": None, "pull_requests": [], "app": _app(), "repository": _repository(),
        "created_at": _stamp(), "updated_at": _stamp(), "latest_check_runs_count": 1, "check_runs_url": url,
        "head_commit": _commit(sha),
    }  # fmt: skip


def _commit(sha: str) -> dict[str, Any]:
    person = {"name": "dev", "email": "dev@acme.example"}
    return {"id": sha, "tree_id": sha, "message": "m", "timestamp": _stamp(), "author": person, "committer": person}


def _repository() -> dict[str, Any]:
    at = "https://api.github.com/repos/acme/shop"
    words = "archive assignees blobs branches collaborators comments commits compare contents contributors deployments"
    words += " downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events issues keys labels"
    words += " languages merges milestones notifications pulls releases stargazers statuses subscribers subscription"
    words += " tags teams trees"
    return {
        "id": 1, "node_id": "n", "name": "shop", "full_name": "acme/shop", "owner": _user(), "private": False,
        "html_url": "https://github.com/acme/shop", "description": None, "fork": False, "url": at, "hooks_url": at,
        **{f"{word}_url": at for word in words.split()},
    }  # fmt: skip


def workflow_run(id: int, sha: str, name: str, *, number: int = 1, age: float = 600) -> dict[str, Any]:
    """Return a run of a workflow as GitHub lists it, completed `age` seconds ago."""
    at = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    url = f"https://github.com/acme/shop/actions/runs/{id}"
    words = ["jobs", "logs", "check_suite", "artifacts", "cancel", "rerun", "workflow"]
    return {
        "id": id, "name": name, "node_id": "n", "check_suite_id": 5, "head_branch": "main", "head_sha": sha,
        "path": ".github/workflows/ci.yml", "run_number": number, "run_attempt": 1, "event": "push",
        "status": "completed", "conclusion": "success", "workflow_id": 20, "url": url, "html_url": url,
        "pull_requests": [], "created_at": at, "updated_at": at, "head_commit": _commit(sha),
        "repository": _repository(), "head_repository": _repository(), "display_title": name,
        **{f"{word}_url": url for word in words},
    }  # fmt: skip


def _status(id: int, repo: str, sha: str, body: Any, url: str) -> dict[str, Any]:
    return {
        "url": f"{url}/repos/{repo}/statuses/{sha}", "avatar_url": None, "id": id, "node_id": "n", "state": body["state"],
        "description": body.get("description"), "target_url": body.get("target_url"), "context": body["context"],
        "created_at": _stamp(), "updated_at": _stamp(), "creator": _user(),
    }  # fmt: skip


def _deployment(id: int, repo: str, body: Any, url: str) -> dict[str, Any]:
    at = f"{url}/repos/{repo}/deployments/{id}"
    return {
        "url": at, "id": id, "node_id": "n", "sha": body["ref"], "ref": body["ref"], "task": body["task"],
        "payload": body["payload"], "original_environment": body["environment"], "environment": body["environment"],
        "description": body["description"], "creator": _user(), "created_at": _stamp(), "updated_at": _stamp(),
        "statuses_url": f"{at}/statuses", "repository_url": f"{url}/repos/{repo}",
    }  # fmt: skip


def _deployment_status(id: int, deployment: dict[str, Any], body: Any, url: str) -> dict[str, Any]:
    return {
        "url": url, "id": id, "node_id": "n", "state": body["state"], "creator": _user(),
        "description": body.get("description", ""), "environment": deployment["environment"], "target_url": "",
        "created_at": _stamp(), "updated_at": _stamp(), "deployment_url": deployment["url"], "repository_url": url,
        "environment_url": body.get("environment_url", ""), "log_url": body.get("log_url", ""),
    }  # fmt: skip


def _ref(ref: str, sha: str, url: str) -> dict[str, Any]:
    at = f"{url}/repos/acme/shop/git"
    commit = {"type": "commit", "sha": sha, "url": f"{at}/commits/{sha}"}
    return {"ref": f"refs/{ref}", "node_id": "n", "url": f"{at}/refs/{ref}", "object": commit}


def _activity(id: int, branch: str, before: str | None, after: str | None, age: float) -> dict[str, Any]:
    at = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    kind = "branch_creation" if before is None else "branch_deletion" if after is None else "push"
    return {
        "id": id, "node_id": "n", "before": before or "0" * 40, "after": after or "0" * 40, "ref": f"refs/heads/{branch}",
        "timestamp": at, "activity_type": kind, "actor": _user("dev"),
    }  # fmt: skip


def _hook(url: str, repo: str) -> dict[str, Any]:
    at = f"{url}/repos/{repo}/hooks/7"
    return {
        "type": "Repository", "id": 7, "name": "web", "active": True, "events": ["push"],
        "config": {"url": "https://greenlight.example.com/webhooks/github", "content_type": "json"},
        "updated_at": "2026-01-01T12:00:00Z", "created_at": "2026-01-01T12:00:00Z", "url": at, "test_url": at, "ping_url": at,
        "deliveries_url": f"{at}/deliveries", "last_response": {"code": None, "status": "unused", "message": None},
    }  # fmt: skip


def delivery(
    id: int, guid: str, code: int, *, again: bool = False, age: float = 600, event: str = "push"
) -> dict[str, Any]:
    """Return a delivery as GitHub lists it, `age` seconds old."""
    at = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "id": id, "guid": guid, "delivered_at": at, "redelivery": again, "duration": 0.1, "event": event, "action": None,
        "status": "OK" if code < 300 else "failed to connect", "status_code": code, "installation_id": INSTALLATION,
        "repository_id": 1, "throttled_at": None,
    }  # fmt: skip


def listening() -> Iterator[FakeGitHub]:
    """Yield a GitHub, for a fixture."""
    github = FakeGitHub()
    yield github
    github.close()
