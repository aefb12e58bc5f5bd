"""A commit of main whose build is green gets a row of `deployments`, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask

from aws_shaped import shared

DEPLOYMENTS = shared.table("deployments")


def create_app() -> Flask:
    return shared.create_app(decide, follows="records")


def decide(record: Mapping[str, Any]) -> None:
    on_main = record.get("push", {}).get("says") == "refs/heads/main"
    built = record.get("build", {}).get("says") == "success"
    if on_main and built:
        deployment = {"id": record["id"], "state": "ready"}
        if shared.written(DEPLOYMENTS.put_item, Item=deployment, ConditionExpression="attribute_not_exists(id)"):
            shared.tell(deployment)
