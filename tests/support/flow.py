"""A whole Greenlight in a temporary folder, reached through its WSGI edges, and watched through a Trigger of its own."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from werkzeug.test import Client, TestResponse

from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.entrypoints.compose import Folders, Greenlight, ThirdParties
from greenlight.events import Event, rfc3339, types
from greenlight.events.http import from_http
from greenlight.lib import signing
from greenlight.lib.clock import Clock, SystemClock
from greenlight.telemetry.tracing import OFF, Tracer
from support.timing import PATIENCE

REPO = "acme/shop"
TOKENS = {name: f"gl_{name}_token_of_the_tests" for name in ("lena", "omar", "dev")}
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

PIPELINE = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    operators: [legal, engineering]
    gates:
      build: {circleci: {workflow: build-test}}
      scan: {webhook: scan}
      legal: {approval: {groups: [legal], count: 1, not: author}}
    environments:
      - name: staging
        require: [build]
        deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}
      - name: production
        after: [staging]
        require: [build, scan, legal]
        deploy: {command: {run: [sh, deploy.sh], timeout: 30s}}
"""

DEPLOY = """
echo "$GREENLIGHT_ENVIRONMENT $GREENLIGHT_SHA $GREENLIGHT_DEPLOYMENT_ID $GREENLIGHT_FENCE" >> deployed.log
if [ -e "fail-$GREENLIGHT_SHA" ]; then echo "the new version does not answer"; exit 3; fi
if [ -p "hold-$GREENLIGHT_ENVIRONMENT" ]; then read line < "hold-$GREENLIGHT_ENVIRONMENT"; fi
"""


NEW = "0" * 40
"""What GitHub names as the commit before of a ref that is created, and as the one after of a ref that is deleted."""


def sha_of(word: str) -> str:
    """Return the sha of the commit that a test calls `word`."""
    return hashlib.sha1(word.encode()).hexdigest()


def people_yaml() -> str:
    """Return people: lena and omar are of the legal department; dev writes the code."""
    rows = {
        "lena": ("legal", "lena-gh"),
        "omar": ("legal", "omar-gh"),
        "dev": ("engineering", "acme-developer"),
    }
    text = "people:\n"
    for name, (group, login) in rows.items():
        digest = hashlib.sha256(TOKENS[name].encode()).hexdigest()
        text += f"  {name}: {{name: {name}, github: {login}, groups: [{group}], tokens: ['sha256:{digest}']}}\n"
    return text


class Ahead(SystemClock):
    """A clock that a test sets forward, or back."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


class Watch:
    """A third party on the Broker that keeps every event that it gets."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.came: list[float] = []  # when each did, by time.perf_counter
        self._news = threading.Condition()

    def __call__(self, environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
        headers = {key[5:].replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_")}
        headers["content-type"] = environ.get("CONTENT_TYPE", "")
        event = from_http(headers, environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        with self._news:
            self.events.append(event)
            self.came.append(time.perf_counter())
            self._news.notify_all()
        start_response("202 Accepted", [])
        return []

    def until(self, seen: Any, timeout: float = PATIENCE) -> Event:
        """Return the first event for which `seen` holds; fail the test if none comes in time."""
        with self._news:
            found = self._news.wait_for(lambda: next((event for event in self.events if seen(event)), None), timeout)
        assert found is not None, f"not seen among {[event.type for event in self.events]}"
        return found

    def at(self, type: str, sha: str) -> float:
        """Return when the first event of that type about that commit came."""
        event = self.until(lambda event: event.type == type and event.json().get("sha") == sha, 60)
        return self.came[self.events.index(event)]

    def end(self, environment: str, sha: str, *, n: int = 0) -> dict[str, Any]:
        """Return the end of the n-th deployment of a commit to an environment."""

        def seen(event: Event) -> bool:
            data = event.json() if event.type in types.ENDS else {}
            return (data.get("environment"), data.get("sha"), data.get("n")) == (environment, sha, n)

        data: dict[str, Any] = self.until(seen).json()
        return data


@dataclass
class Shop:
    """One Greenlight that ships acme/shop, with the senders and people around it."""

    folder: Path
    third_parties: ThirdParties = field(default_factory=ThirdParties)
    watch: Watch = field(default_factory=Watch)
    pushes: int = 0
    tracer: Tracer = OFF
    pipeline: str = PIPELINE
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        config = self.folder / "config"
        if not config.exists():
            config.mkdir()
            (config / "pipeline.yaml").write_text(self.pipeline)
            (config / "people.yaml").write_text(people_yaml())
            (config / "deploy.sh").write_text(DEPLOY)
            secrets = self.folder / "secrets"
            secrets.mkdir()
            for name in ("github", "circleci"):
                (secrets / name).write_text(f"{name}-secret-of-the-tests\n")
            (secrets / "gate-scan").write_text("whsec_" + "c2NhbiBzZWNyZXQgb2YgdGhlIHRlc3Rz\n")
        self.greenlight = self._compose()

    def _compose(self) -> Greenlight:
        triggers = [TriggerSpec.to_service("watch", "watch"), *self.third_parties.triggers]
        return Greenlight(
            Folders(self.folder / "config", self.folder / "data", self.folder / "secrets"),
            open_reads=True,
            log=logging.getLogger("greenlight.tests"),
            third_parties=ThirdParties(triggers, {"watch": self.watch, **self.third_parties.services}),
            tracer=self.tracer,
            clock=self.clock,
        )

    def start(self) -> Shop:
        self.greenlight.start()
        return self

    def stop(self) -> None:
        assert self.greenlight.stop(10)

    def without_chain(self) -> AbstractContextManager[object]:
        """Leave everything to the Broker, as where a handler fails: a write is stored without what follows from it."""
        return mock.patch.object(self.greenlight.broker, "hand_over", return_value=False)

    def settle(self) -> None:
        """Wait until every Trigger has nothing left to deliver."""
        assert self.greenlight.broker.idle(PATIENCE)

    def decided(self, word: str, environment: str, decision: str, timeout: float = PATIENCE) -> None:
        """Wait until a commit's decision for an environment is this one, while other deliveries are on their way."""
        deadline, found = time.monotonic() + timeout, None
        while found != decision:
            assert time.monotonic() < deadline, f"{word} in {environment} is still {found}"
            time.sleep(0.01)
            answer = self.api("GET", f"/commits/{REPO}/{sha_of(word)}")
            if answer.status_code == 200:  # it is known once its push is recorded
                applications = json.loads(answer.get_data())["applications"]
                found = next(iter(applications.values()))["environments"][environment]["decision"]

    def until(self, seen: Callable[[], bool]) -> None:
        """Wait until a state is reached that no event reports."""
        deadline = time.monotonic() + PATIENCE
        while not seen():
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.01)

    # what senders do

    def _webhook(self, path: str, payload: Any, headers: Mapping[str, str]) -> str:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        answer = Client(self.greenlight.apps["webhooks"]).post(
            path, data=body, headers=dict(headers), content_type="application/json"
        )
        assert answer.status_code == 202, answer.get_data(as_text=True)
        return str(json.loads(answer.get_data()).get("id"))

    def secret(self, name: str) -> bytes:
        return (self.folder / "secrets" / name).read_text().strip().encode()

    def push(
        self,
        word: str,
        *,
        before: str = "nothing",
        forced: bool = False,
        at: int | None = None,
        by: str = "acme-developer",
        **more: Any,
    ) -> str:
        """Send GitHub's push of the commit `word` to main by a login, a second later than the last one.

        `more` are fields of the body that are to be otherwise.
        """
        self.pushes += 1
        payload = push_payload(word, before=before, forced=forced, at=self.pushes if at is None else at, by=by) | more
        body = json.dumps(payload).encode()
        headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signing.github(self.secret("github"), body)}
        return self._webhook("/webhooks/github", body, headers)

    def github(self, event: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Send any webhook of GitHub's; return the answer."""
        body = json.dumps(payload).encode()
        headers = {"X-GitHub-Event": event, "X-Hub-Signature-256": signing.github(self.secret("github"), body)}
        answer = Client(self.greenlight.apps["webhooks"]).post(
            "/webhooks/github", data=body, headers=headers, content_type="application/json"
        )
        document: dict[str, Any] = json.loads(answer.get_data())
        return document

    def build(self, word: str, status: str = "success", *, number: int = 1) -> str:
        """Send CircleCI's result of the workflow build-test of the commit."""
        return self.circleci(build_payload(word, status, number=number))

    def circleci(self, payload: Mapping[str, Any]) -> str:
        """Send any webhook of CircleCI's."""
        body = json.dumps(payload).encode()
        headers = {"circleci-signature": signing.circleci(self.secret("circleci"), body)}
        return self._webhook("/webhooks/circleci", body, headers)

    def scan(self, word: str, outcome: str = "passed", *, run: int = 1) -> str:
        """Send the scanner's report."""
        return self.report({"repo": REPO, "sha": sha_of(word), "outcome": outcome, "run": run})

    def report(self, payload: Mapping[str, Any]) -> str:
        """Send any report of the scanner's."""
        body = json.dumps(payload).encode()
        id, stamp = f"scan-{hashlib.sha256(body).hexdigest()}", int(datetime.now(UTC).timestamp())
        signature = signing.standard_webhooks(self.secret("gate-scan"), id, stamp, body)
        headers = {"webhook-id": id, "webhook-timestamp": str(stamp), "webhook-signature": signature}
        return self._webhook("/webhooks/gates/scan", body, headers)

    # what people do

    def api(self, method: str, path: str, body: Any = None, *, who: str | None = None) -> TestResponse:
        headers = {"Authorization": f"Bearer {TOKENS[who]}"} if who else {}
        client = Client(self.greenlight.apps["board"])
        return client.open(f"/api/v1{path}", method=method, json=body, headers=headers)

    def commit(self, word: str) -> dict[str, Any]:
        answer = self.api("GET", f"/commits/{REPO}/{sha_of(word)}")
        assert answer.status_code == 200, answer.get_data(as_text=True)
        document: dict[str, Any] = json.loads(answer.get_data())
        return document

    def environment(self, word: str, name: str) -> dict[str, Any]:
        """Return one environment on the commit's page."""
        environment: dict[str, Any] = self.commit(word)["applications"]["shop"]["environments"][name]
        return environment

    def act(self, path: str, body: Mapping[str, Any], who: str = "lena") -> dict[str, Any]:
        answer = self.api("POST", path, dict(body), who=who)
        assert answer.status_code == 202, answer.get_data(as_text=True)
        document: dict[str, Any] = json.loads(answer.get_data() or b"{}")
        return document

    def approve(self, word: str, who: str = "lena") -> dict[str, Any]:
        return self.act(f"/commits/{REPO}/{sha_of(word)}/approvals", {"application": "shop", "gate": "legal"}, who)

    def deployed(self) -> list[tuple[str, str, str, str]]:
        """Return the arguments of each deploy command, in order: environment, sha, deployment id, fence."""
        log = self.folder / "config" / "deployed.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [tuple(line.split()) for line in lines]  # type: ignore[misc]


def push_payload(
    word: str, *, before: str = "nothing", forced: bool = False, at: int = 0, by: str = "acme-developer"
) -> dict[str, Any]:
    """Return GitHub's webhook for a push, as far as Greenlight reads it; `before` NEW: of a ref that it creates."""
    email = f"{by.removeprefix('acme-').removesuffix('eloper')}@acme.example"
    person = {"name": by, "email": email, "username": by}
    commit = {
        "id": sha_of(word),
        "tree_id": sha_of(f"tree of {word}"),
        "distinct": True,
        "message": word,
        "timestamp": rfc3339(START),
        "author": person,
        "committer": person,
        "added": [],
        "removed": [],
        "modified": ["shop.py"],
    }
    return {
        "ref": "refs/heads/main",
        "before": NEW if before == NEW else sha_of(before),
        "after": sha_of(word),
        "created": before == NEW,
        "deleted": False,
        "forced": forced,
        "commits": [commit],
        "head_commit": commit,
        "pusher": {"name": by, "email": email},
        "sender": {"login": by},
        "repository": {
            "full_name": "Acme/Shop",
            "html_url": "https://github.com/Acme/Shop",
            "url": "https://github.com/Acme/Shop",
            "pushed_at": int((START + timedelta(seconds=at)).timestamp()),
            "owner": {"login": "Acme"},
        },
    }


def build_payload(word: str, status: str = "success", *, number: int = 1) -> dict[str, Any]:
    """Return CircleCI's workflow-completed, for a project of the GitHub OAuth kind."""
    happened = rfc3339(START + timedelta(minutes=number))
    return {
        "id": sha_of(f"{word} {status} {number}")[:32],
        "type": "workflow-completed",
        "happened_at": happened,
        "project": {"id": "p", "name": "shop", "slug": "github/acme/shop"},
        "workflow": {
            "id": sha_of(f"workflow {word} {number}")[:32],
            "name": "build-test",
            "status": status,
            "created_at": happened,
            "stopped_at": happened,
            "url": "https://app.circleci.com/x",
        },
        "pipeline": {
            "id": "pipeline",
            "number": number,
            "created_at": happened,
            "trigger": {"type": "webhook"},
            "vcs": {
                "provider_name": "github",
                "origin_repository_url": "https://github.com/acme/shop",
                "target_repository_url": "https://github.com/acme/shop",
                "revision": sha_of(word),
                "branch": "main",
            },
        },
    }
