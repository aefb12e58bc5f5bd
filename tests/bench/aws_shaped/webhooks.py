"""A signed webhook becomes a row of `facts`; 202 once it is written."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import Any

from flask import Flask, request

from aws_shaped.shared import table, tell, written

FACTS = table("facts")
SECRETS = {name: os.environ[f"AWS_SHAPED_{name.upper()}_SECRET"].encode() for name in ("github", "circleci")}


def create_app() -> Flask:
    app = Flask(__name__)

    @app.post("/webhooks/github")
    def github() -> tuple[Any, int]:
        signature = request.headers.get("X-Hub-Signature-256", "")
        if not hmac.compare_digest(signature, f"sha256={_hmac('github', request.get_data())}"):
            return {"error": "wrong signature"}, 401
        push = json.loads(request.get_data())
        commit = f"{push['repository']['full_name'].lower()}@{push['after']}"
        at = push["repository"]["pushed_at"]
        return _keep({"id": f"push {commit} {at}", "commit": commit, "kind": "push", "says": push["ref"], "order": at})

    @app.post("/webhooks/circleci")
    def circleci() -> tuple[Any, int]:
        signature = request.headers.get("circleci-signature", "")
        if not hmac.compare_digest(signature, f"v1={_hmac('circleci', request.get_data())}"):
            return {"error": "wrong signature"}, 401
        build = json.loads(request.get_data())
        commit = f"{build['project']['slug'].removeprefix('github/')}@{build['pipeline']['vcs']['revision']}"
        says, order = build["workflow"]["status"], build["pipeline"]["number"]
        return _keep({"id": f"build {build['id']}", "commit": commit, "kind": "build", "says": says, "order": order})

    return app


def _hmac(sender: str, body: bytes) -> str:
    return hmac.new(SECRETS[sender], body, hashlib.sha256).hexdigest()


def _keep(fact: dict[str, Any]) -> tuple[Any, int]:
    if written(FACTS.put_item, Item=fact, ConditionExpression="attribute_not_exists(id)"):
        tell(fact)
    return {"id": fact["id"]}, 202
