"""The operations of DynamoDB that the ledger needs, on one table, with its errors distinguished.

Everything that is sent means the same twice: reads, unconditional writes, transactions under a ClientRequestToken, which
DynamoDB remembers for ten minutes, and conditional writes of one item, whose ALL_OLD tells a repetition what the first did.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from botocore.exceptions import ClientError

from greenlight.ledger.dynamodb.aws import RetryNeeded, Service
from greenlight.lib.errors import Misconfigured, Unavailable
from greenlight.lib.jitter import full_jitter

Item = Mapping[str, Any]
"""Attributes as boto3's client has them: {"pk": {"S": …}, …}; of binary ones, bytes."""

Key = tuple[str, str]
"""(pk, sk)."""

MOST_ITEMS = 100
"""Items of one transaction, and keys of one BatchGetItem."""

MOST_DELETES = 25
"""Requests of one BatchWriteItem."""

ROUNDS = 10
"""How often a batch is sent again for what DynamoDB had no capacity for."""

_BUSY = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "TransactionConflictException",
        "TransactionInProgressException",
        "ReplicatedWriteConflictException",
        "InternalServerError",
        "ServiceUnavailable",
    }
)
"""Errors after which the same request may succeed (the API reference's "Error handling")."""

_BUSY_REASONS = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
"""Reasons of a TransactionCanceledException: nothing was wrong with the item, another transaction had it."""

_TO_DO = {
    "ResourceNotFoundException": "there is no such table, or it is being made: greenlight ledger create makes it",
    "AccessDeniedException": "the role may not do this: greenlight ledger policy prints what it needs",
    "UnrecognizedClientException": "the credentials are not valid",
    "ExpiredTokenException": "the credentials have expired and were not refreshed",
    "InvalidSignatureException": "the secret is wrong, or this machine's clock is",
    "MissingAuthenticationTokenException": "the request carries no credentials",
    "UnknownOperationException": "this DynamoDB does not offer it (DynamoDB Local does not)",
    "ResourceInUseException": "it exists already, or is being changed",
}


class Refused(Misconfigured):
    """DynamoDB refuses, and will until a person repairs the cause: `code` is its own code of the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"DynamoDB refuses: {message}; {_TO_DO[code]}")
        self.code = code


class ConditionFailed(Exception):
    """The condition of a write of one item did not hold; `item` is what was there."""

    def __init__(self, item: Item) -> None:
        super().__init__("the condition did not hold")
        self.item = item


class Cancelled(Exception):
    """A transaction was not written because conditions did not hold: those of the items at these places."""

    def __init__(self, failed: Sequence[int]) -> None:
        super().__init__(f"the conditions of items {list(failed)} did not hold")
        self.failed = failed


Meter = Callable[[str, str, float], None]
"""Called with (operation, "table" or an index's name, capacity units) of every call, where these are counted."""


class Dynamo:
    """One table. Safe for threads."""

    def __init__(
        self, service: Service, table: str, *, meter: Meter | None = None, pause: Callable[[int], None] = full_jitter
    ) -> None:
        self.table = table
        self._service = service
        self._meter = meter
        self._pause = pause
        self._process = os.urandom(12).hex()
        self._transactions = count()

    # Reading: strongly consistent, but for indexes, which cannot be.

    def get(self, key: Key) -> Item | None:
        """Return the item, or None."""
        found: Item | None = self._call("GetItem", {"Key": _key(key), "ConsistentRead": True}).get("Item")
        return found

    def get_all(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Return those of the items that exist."""
        found: dict[Key, Item] = {}
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), MOST_ITEMS):
            asked: Any = {"Keys": [_key(key) for key in wanted[start : start + MOST_ITEMS]], "ConsistentRead": True}
            for attempt in range(ROUNDS):
                answer = self._batch("BatchGetItem", {self.table: asked})
                for item in answer["Responses"].get(self.table, ()):
                    found[item["pk"]["S"], item["sk"]["S"]] = item
                asked = answer["UnprocessedKeys"].get(self.table)
                if not asked:
                    break
                self._pause(attempt)
            else:
                raise Unavailable(f"DynamoDB had no capacity for {len(asked['Keys'])} reads in {ROUNDS} rounds")
        return found

    def query(
        self,
        condition: str,
        values: Mapping[str, str],
        *,
        index: str | None = None,
        newest: bool = False,
        page: int = 0,
    ) -> Iterator[Item]:
        """Yield items of one partition in order of their sort key, backwards if `newest` first.

        They are read as they are asked for. `condition` names keys by their attribute and values by `:name`; `page` is how many
        one request reads at the most.
        """
        request: dict[str, Any] = {
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": {f":{name}": {"S": value} for name, value in values.items()},
            "ScanIndexForward": not newest,
        }
        if index is None:
            request["ConsistentRead"] = True
        else:
            request["IndexName"] = index
        if page:
            request["Limit"] = page
        while True:
            answer = self._call("Query", request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    # Writing.

    def put_first(self, item: Item) -> Item | None:
        """Store the item if its key is free; else return the stored one."""
        try:
            self._call(
                "PutItem",
                {
                    "Item": item,
                    "ConditionExpression": "attribute_not_exists(pk)",
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                },
            )
        except ConditionFailed as there:
            return there.item
        return None

    def put(self, item: Item) -> None:
        """Store the item, whatever was there."""
        self._call("PutItem", {"Item": item})

    def delete_if(self, key: Key, condition: str, values: Mapping[str, str]) -> bool:
        """Delete the item if the condition holds; return whether it did."""
        try:
            self._call(
                "DeleteItem",
                {
                    "Key": _key(key),
                    "ConditionExpression": condition,
                    "ExpressionAttributeValues": {f":{name}": {"S": value} for name, value in values.items()},
                },
            )
        except ConditionFailed:
            return False
        return True

    def delete(self, keys: Sequence[Key]) -> None:
        """Delete these items; missing ones are no error."""
        if len(keys) == 1:
            self._call("DeleteItem", {"Key": _key(keys[0])})
            return
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), MOST_DELETES):
            asked: Any = [{"DeleteRequest": {"Key": _key(key)}} for key in wanted[start : start + MOST_DELETES]]
            for attempt in range(ROUNDS):
                asked = self._batch("BatchWriteItem", {self.table: asked})["UnprocessedItems"].get(self.table)
                if not asked:
                    break
                self._pause(attempt)
            else:
                raise Unavailable(f"DynamoDB had no capacity for {len(asked)} deletes in {ROUNDS} rounds")

    def put_some(self, items: Sequence[Item]) -> None:
        """Store items of different keys, without another try for what DynamoDB has no capacity for."""
        for start in range(0, len(items), MOST_DELETES):
            asked = [{"PutRequest": {"Item": one}} for one in items[start : start + MOST_DELETES]]
            self._batch("BatchWriteItem", {self.table: asked})

    def transact(self, operations: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Write all of ("Put", …), ("Update", …), ("Delete", …), ("ConditionCheck", …), or raise Cancelled and write none."""
        items = [{kind: {"TableName": self.table, **operation}} for kind, operation in operations]
        token = f"{self._process}{next(self._transactions):012x}"
        self._call("TransactWriteItems", {"TransactItems": items, "ClientRequestToken": token}, named=False)

    # One request.

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call any other operation on the table, for its settings. Raises Refused, Unavailable."""
        return self._call(operation, request)

    def _batch(self, operation: str, requests: Mapping[str, Any]) -> dict[str, Any]:
        return self._call(operation, {"RequestItems": requests}, named=False)

    def _call(self, operation: str, request: Mapping[str, Any], *, named: bool = True) -> dict[str, Any]:
        """Return the answer of an operation.

        Raises ConditionFailed, Cancelled, Unavailable; RuntimeError for a defect.
        """
        whole = {"TableName": self.table, **request} if named else request
        if self._meter is not None:
            whole = {**whole, "ReturnConsumedCapacity": "INDEXES"}
        answer: dict[str, Any] = self._service.call(operation, whole, _exception_of)
        if self._meter is not None:
            _report_capacity(self._meter, operation, answer.get("ConsumedCapacity", ()))
        return answer


def _key(key: Key) -> dict[str, Any]:
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}}


def _exception_of(problem: ClientError) -> Exception:
    """Return the exception for an error of DynamoDB."""
    answer, error = problem.response, problem.response["Error"]
    code, status = error.get("Code", ""), answer["ResponseMetadata"]["HTTPStatusCode"]
    message = error.get("Message") or code
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(answer.get("Item", {}))
    if code == "TransactionCanceledException":
        return _cancelled(answer.get("CancellationReasons", ()), message)
    if code in _BUSY:
        return RetryNeeded(f"{code}: {message}")
    if status >= 500 or not code or code.isdecimal():  # without a code of DynamoDB's own it is from a proxy on the way
        return RetryNeeded(f"it answered {status} {message}".rstrip())
    if code in _TO_DO:
        return Refused(code, message)
    return RuntimeError(f"DynamoDB answered {status} {code}: {message}")


def _cancelled(reasons: Sequence[Mapping[str, Any]], message: str) -> Exception:
    """Return the exception of a cancelled transaction.

    It tells failed conditions from another transaction in the way, and from a defect.
    """
    codes = [reason.get("Code", "None") for reason in reasons]
    failed = [place for place, code in enumerate(codes) if code == "ConditionalCheckFailed"]
    if failed:
        return Cancelled(failed)
    others = {code for code in codes if code != "None"}
    if others and others <= _BUSY_REASONS:
        return RetryNeeded(", ".join(sorted(others)))
    words = "; ".join(str(reason["Message"]) for reason in reasons if reason.get("Message"))
    return RuntimeError(f"a transaction was cancelled: {words or message}")


def _report_capacity(meter: Meter, operation: str, consumed: Any) -> None:
    for one in [consumed] if isinstance(consumed, Mapping) else consumed:
        meter(operation, "table", one.get("Table", {}).get("CapacityUnits", 0.0))
        for name, index in one.get("GlobalSecondaryIndexes", {}).items():
            meter(operation, name, index["CapacityUnits"])
