"""Providers' bodies in a bucket of S3: an object for each, below a prefix.

Nothing is deleted from here. The bucket's lifecycle rule drops `PREFIX/body-*` some days after the table has forgotten them,
and leaves `PREFIX/row-*`, which the table needs for ever (docs/ledger-dynamodb.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from greenlight.ledger.dynamodb.aws import Again, Expired, Service
from greenlight.ledger.dynamodb.aws_connections import Answer
from greenlight.lib.errors import Misconfigured, Unavailable

_CODE = re.compile(rb"<Code>([A-Za-z]+)</Code>")

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
        self._service = service
        self._root = "/" + quote("/".join(part for part in (bucket, prefix.strip("/")) if part), safe="/-_.~")

    def put(self, name: str, body: bytes, at: int) -> None:
        """Write the object; S3 keeps it only if it is what was signed. Raises Unavailable."""
        self._service.call("PUT", self._path(name), {"content-type": "application/octet-stream"}, body, _kept)

    def get(self, name: str) -> bytes | None:
        """What the object holds, or None. Raises Unavailable."""
        return self._service.call("GET", self._path(name), {}, b"", _found)

    def sweep(self, wanted: Callable[[str], bool], before: int) -> None:
        """Nothing: the bucket's lifecycle rule does it, and needs no list of the whole bucket for it."""

    def _path(self, name: str) -> str:
        return f"{self._root}/{quote(name, safe='-_.~')}"


def _kept(answer: Answer) -> None:
    if answer.status != 200:
        raise _problem(answer)


def _found(answer: Answer) -> bytes | None:
    if answer.status == 200:
        return answer.body
    if answer.status == 404 and _code(answer) == "NoSuchKey":
        return None
    raise _problem(answer)


def _code(answer: Answer) -> str:
    found = _CODE.search(answer.body)
    return found[1].decode() if found else ""


def _problem(answer: Answer) -> Exception:
    code = _code(answer)
    if answer.status >= 500 or answer.status == 429 or code in ("SlowDown", "RequestTimeout", "OperationAborted"):
        return Again(f"it answered {answer.status} {code}".rstrip())
    if code in _TO_DO:
        refusal = Misconfigured(f"S3 refuses: {code}; {_TO_DO[code]}")
        return Expired(refusal) if code in ("ExpiredToken", "InvalidAccessKeyId") else refusal
    return Unavailable(f"S3 refuses: {answer.status} {code or 'without a reason'}")
