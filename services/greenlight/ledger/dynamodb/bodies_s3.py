"""Providers' bodies in a bucket of S3: an object for each, below a prefix.

Nothing is deleted from here. The bucket's lifecycle rule drops `PREFIX/body-*` some days after the table has forgotten them,
and leaves `PREFIX/row-*`, which the table needs for ever (docs/ledger-dynamodb.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from greenlight.ledger.dynamodb.aws import RetryNeeded, Service
from greenlight.lib.errors import Misconfigured, Unavailable

_TO_DO = {
    "AccessDenied": "the role may not do this: greenlight ledger policy prints what it needs",
    "ExpiredToken": "the credentials have expired and were not refreshed",
    "InvalidAccessKeyId": "the credentials are not valid",
    "NoSuchBucket": "there is no such bucket: make it, in the region of AWS_REGION",
    "SignatureDoesNotMatch": "the secret is wrong, or AWS_REGION is not the bucket's",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "PermanentRedirect": "the bucket is in another region than AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region than AWS_REGION",
}


class Bucket:
    """Bodies in a bucket. Addressed by path, so that any name of a bucket has a valid certificate."""

    def __init__(self, service: Service, bucket: str, prefix: str = "") -> None:
        self._service, self._bucket = service, bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def put(self, name: str, body: bytes, at: int) -> None:
        """Write the object; S3 keeps it only if it is what was signed. Raises Unavailable."""
        self._service.call("PutObject", {**self._object(name), "Body": body}, _exception_of)

    def get(self, name: str) -> bytes | None:
        """Return the object's content, or None. Raises Unavailable."""
        try:
            found: bytes = self._service.call(
                "GetObject", self._object(name), _exception_of, lambda answer: answer["Body"].read()
            )
        except _ObjectMissing:
            return None
        return found

    def sweep(self, wanted: Callable[[str], bool], before: int) -> None:
        """Do nothing: the bucket's lifecycle rule removes bodies, and needs no list of the whole bucket for it."""

    def _object(self, name: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}


class _ObjectMissing(Exception):
    """The object does not exist."""


def _exception_of(problem: ClientError) -> Exception:
    """Return the exception for an error of S3."""
    code, status = problem.response["Error"].get("Code", ""), problem.response["ResponseMetadata"]["HTTPStatusCode"]
    if code == "NoSuchKey":
        return _ObjectMissing()
    if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout", "OperationAborted"):
        return RetryNeeded(f"it answered {status} {code}")
    if code in _TO_DO:
        return Misconfigured(f"S3 refuses: {code}; {_TO_DO[code]}")
    return Unavailable(f"S3 refuses: {status} {code}")
