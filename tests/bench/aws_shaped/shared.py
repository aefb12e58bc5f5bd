"""What the services share: their tables, and how one hears of the rows that another wrote."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import boto3
import urllib3
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError
from flask import Flask, request

TABLES = ("facts", "records", "deployments")
HTTP = urllib3.PoolManager(retries=False, timeout=30.0)
WHERE: dict[str, Any] = {
    "endpoint_url": os.environ.get("AWS_ENDPOINT_URL_DYNAMODB"),
    "region_name": os.environ.get("AWS_REGION", "us-east-1"),
}
DYNAMODB = boto3.resource("dynamodb", **WHERE)


def table(name: str, prefix: str | None = None) -> Any:
    """One of TABLES; those of different runs differ in their prefix."""
    return DYNAMODB.Table(f"{prefix or os.environ['AWS_SHAPED_PREFIX']}-{name}")


def create_tables(prefix: str) -> None:
    """Each has the key `id` and a stream of its rows."""
    for name in TABLES:
        DYNAMODB.create_table(
            TableName=f"{prefix}-{name}",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        ).wait_until_exists()


def delete_tables(prefix: str) -> None:
    for name in TABLES:
        table(name, prefix).delete()


def written(write: Callable[..., Any], **words: Any) -> Any:
    """What a conditional write answers; None if its condition does not hold, so that somebody has been here before."""
    try:
        return write(**words)
    except ClientError as problem:
        if problem.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return None


def tell(row: Mapping[str, Any]) -> None:
    """Post a row to the next service, unless that one polls."""
    url = os.environ.get("AWS_SHAPED_NEXT")
    if url:
        answer = HTTP.request("POST", f"{url}/rows", json=dict(row))
        assert answer.status == 204, answer.data


def create_app(handle: Callable[[Mapping[str, Any]], None], follows: str) -> Flask:
    """A service that does `handle` for each new version of a row of the table that it follows."""
    app = Flask(__name__)

    @app.post("/rows")
    def posted() -> tuple[str, int]:
        handle(request.get_json())
        return "", 204

    if os.environ.get("AWS_SHAPED_POLL"):
        _follow(table(follows), float(os.environ["AWS_SHAPED_POLL"]), handle)
    return app


def _follow(followed: Any, seconds: float, handle: Callable[[Mapping[str, Any]], None]) -> None:
    """Read the table's stream from its start on, once every `seconds`, in a thread."""
    streams, now = boto3.client("dynamodbstreams", **WHERE), time.monotonic
    arn, plain = followed.latest_stream_arn, TypeDeserializer().deserialize
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]

    def oldest() -> str:
        place = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        return str(place["ShardIterator"])

    def poll() -> None:
        iterator, due = oldest(), now()
        while True:
            try:
                found = streams.get_records(ShardIterator=iterator)
            except streams.exceptions.TrimmedDataAccessException:
                iterator = oldest()  # DynamoDB Local no longer knows one that it gave while the stream was empty
                continue
            for record in found["Records"]:
                handle({name: plain(value) for name, value in record["dynamodb"]["NewImage"].items()})
            iterator = found["NextShardIterator"]
            # Another moment after each find, never later than usual: else the luck of the start decides what all wait for.
            due = max(due + seconds, now()) if not found["Records"] else now() + random.uniform(0, seconds)
            time.sleep(max(0.0, due - now()))

    threading.Thread(target=poll, daemon=True).start()
