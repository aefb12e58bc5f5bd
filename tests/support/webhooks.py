"""The webhook edge on a real ledger, with senders that sign."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from werkzeug.test import Client, TestResponse

from greenlight.ledger.sqlite import ledger as sqlite
from greenlight.lib import signing
from greenlight.lib.clock import SystemClock
from greenlight.model.rows import Fact
from greenlight.service.publisher import InLog
from greenlight.service.secrets import Secrets
from greenlight.store import Store
from greenlight.webhooks import app as webhooks
from greenlight.webhooks.providers.registry import FILES
from support.policy import parse

SHA = "0123456789abcdef0123456789abcdef01234567"
GITHUB, CIRCLECI = b"github secret", b"circleci secret"
SCAN = b"whsec_c2NhbiBzZWNyZXQgb2YgdGhlIHRlc3Rz"

PIPELINE = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: {repo}
    branches: [main]
    tags: ["v*"]
    circleci: {{project: 7b5a2f3e-0000-4000-8000-000000000001}}
    gates:
      build: {{circleci: {{workflow: build-test}}}}
      scan: {{webhook: scan}}
      custom: {{event: com.example.scan, sender: scanner, where: {{severity: none}}}}
    environments:
      - name: production
        require: [build]
        deploy: {{command: {{run: [sh, deploy.sh]}}}}
"""


@dataclass
class Rig:
    """One webhook edge in a folder."""

    folder: Path
    repo: str = "acme/shop"
    secrets: Mapping[str, bytes] = field(
        default_factory=lambda: {"github": GITHUB, "circleci": CIRCLECI, "gate-scan": SCAN, "events-scanner": SCAN}
    )

    def __post_init__(self) -> None:
        folder = self.folder / "secrets"
        folder.mkdir(exist_ok=True)
        for name, value in self.secrets.items():
            (folder / name).write_bytes(value + b"\n")
        self.clock = clock = SystemClock()
        self.store = Store(self.folder / "greenlight.db", [sqlite.SCHEMA])
        self.ledger = sqlite.SqliteLedger(self.store, self.folder / "bodies", clock=clock.now)
        pipeline = parse({"pipeline.yaml": PIPELINE.format(repo=self.repo)}, self.folder)
        self.log = logging.getLogger("greenlight.rig")
        self.secrets_in_force = Secrets(folder, FILES)
        deps = webhooks.Deps(clock, self.ledger, lambda: pipeline, InLog(), self.log, secrets=self.secrets_in_force)
        self.client = Client(webhooks.create_app(deps))

    def close(self) -> None:
        self.store.close()

    def post(self, path: str, body: bytes, headers: Mapping[str, str], **more: Any) -> TestResponse:
        return self.client.post(path, data=body, headers=dict(headers), **{"content_type": "application/json", **more})

    def github(self, event: str, payload: Any, *, secret: bytes = GITHUB, **headers: str) -> TestResponse:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signed = {"X-GitHub-Event": event, "X-Hub-Signature-256": signing.github(secret, body)}
        return self.post("/webhooks/github", body, {**signed, **{k.replace("_", "-"): v for k, v in headers.items()}})

    def circleci(self, payload: Any, **headers: str) -> TestResponse:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.post(
            "/webhooks/circleci", body, {"circleci-signature": signing.circleci(CIRCLECI, body), **headers}
        )

    def gate(
        self,
        payload: Any,
        *,
        name: str = "scan",
        id: str = "msg_1",
        age: int = 0,
        secret: bytes = SCAN,
        signature: str | None = None,
    ) -> TestResponse:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers = standard(secret, id, body, age=age)
        return self.post(
            f"/webhooks/gates/{name}", body, headers | ({"webhook-signature": signature} if signature else {})
        )

    def event(
        self, body: bytes, headers: Mapping[str, str], *, sender: str = "scanner", id: str = "msg_1"
    ) -> TestResponse:
        kept = {key: value for key, value in headers.items() if key.lower() != "content-type"}
        content = next((value for key, value in headers.items() if key.lower() == "content-type"), "application/json")
        return self.post(f"/webhooks/events/{sender}", body, {**kept, **standard(SCAN, id, body)}, content_type=content)

    def fact(self, answer: TestResponse) -> Fact:
        """Return the fact that an answer names; fail unless it was accepted."""
        assert answer.status_code == 202, answer.get_data(as_text=True)
        document = json.loads(answer.get_data())
        assert "id" in document, document
        fact = self.ledger.fact(document["id"])
        assert fact is not None
        return fact

    def count(self) -> int:
        """Return how many rows a request has left behind."""
        with self.store.read() as connection:
            tables = ("facts", "outbox", "due", "bodies", "claims")
            return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


def standard(secret: bytes, id: str, body: bytes, *, age: int = 0) -> dict[str, str]:
    stamp = int(datetime.now(UTC).timestamp()) - age
    signature = signing.standard_webhooks(secret, id, stamp, body)
    return {"webhook-id": id, "webhook-timestamp": str(stamp), "webhook-signature": signature}


def ignored(answer: TestResponse) -> str:
    """Return why a request was ignored; fail unless it was."""
    assert answer.status_code == 202, answer.get_data(as_text=True)
    return str(json.loads(answer.get_data())["ignored"])


def repository(name: str = "Acme/Shop", **more: Any) -> dict[str, Any]:
    return {"full_name": name, "html_url": f"https://github.com/{name}", "pushed_at": 1_767_268_800, **more}


def gate_body(**more: Any) -> dict[str, Any]:
    return {"repo": "acme/shop", "sha": SHA, "outcome": "passed", "run": 1, **more}
