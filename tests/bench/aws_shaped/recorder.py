"""A fact goes into its commit's row of `records`, unless a newer one of its kind is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask

from aws_shaped import shared

RECORDS = shared.table("records")


def create_app() -> Flask:
    return shared.create_app(record, follows="facts")


def record(fact: Mapping[str, Any]) -> None:
    found = shared.written(
        RECORDS.update_item,
        Key={"id": fact["commit"]},
        UpdateExpression="SET #kind = :new",
        ConditionExpression="attribute_not_exists(#kind) OR #kind.#order < :order",
        ExpressionAttributeNames={"#kind": fact["kind"], "#order": "order"},
        ExpressionAttributeValues={":new": {"says": fact["says"], "order": fact["order"]}, ":order": fact["order"]},
        ReturnValues="ALL_NEW",
    )
    if found:
        row = found["Attributes"]
        shared.tell({name: value if name == "id" else {"says": value["says"]} for name, value in row.items()})
