"""A deployment that is ready is claimed, and its command run; then its row says how it ended."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping
from typing import Any

from flask import Flask

from aws_shaped import shared

DEPLOYMENTS = shared.table("deployments")
TARGET = threading.Lock()
"""One change of the target at a time."""


def create_app() -> Flask:
    return shared.create_app(deploy, follows="deployments")


def deploy(deployment: Mapping[str, Any]) -> None:
    if deployment["state"] != "ready":
        return
    with TARGET:
        if _moved(deployment["id"], "ready", "running"):
            done = subprocess.run(["sh", "deploy.sh"], cwd=os.environ["AWS_SHAPED_FOLDER"], timeout=30, check=False)
            _moved(deployment["id"], "running", "failed" if done.returncode else "succeeded")


def _moved(id: str, before: str, after: str) -> Any:
    return shared.written(
        DEPLOYMENTS.update_item,
        Key={"id": id},
        UpdateExpression="SET #state = :after",
        ConditionExpression="#state = :before",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":before": before, ":after": after},
    )
