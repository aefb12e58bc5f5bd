"""Signatures of webhooks: made as the providers make them, and checked in constant time.

Used by the receiving edge and by `greenlight send`. Sources: GitHub, "Validating webhook deliveries"; CircleCI, "Webhooks";
Standard Webhooks 1.0.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from typing import TypeVar

from greenlight.lib.errors import Unauthenticated

TOLERANCE = 300
"""Seconds that a Standard Webhooks timestamp may differ from our clock."""

_HEX = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[!-~]{1,256}")
S = TypeVar("S")


class BadSignature(Unauthenticated):
    """The signature is missing, malformed, stale or wrong. The message may be shown: it contains no secret."""


def github(secret: bytes, body: bytes) -> str:
    """Return the value of X-Hub-Signature-256."""
    return "sha256=" + hmac.digest(secret, body, "sha256").hex()


def circleci(secret: bytes, body: bytes) -> str:
    """Return the value of circleci-signature."""
    return "v1=" + hmac.digest(secret, body, "sha256").hex()


def standard_webhooks(secret: bytes, id: str, timestamp: int, body: bytes) -> str:
    """Return the value of webhook-signature, for a secret in its `whsec_` form."""
    digest = hmac.digest(key_of(secret), f"{id}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(digest).decode("ascii")


def key_of(secret: bytes) -> bytes:
    """Return the key that a Standard Webhooks secret is: `whsec_` and base64. ValueError for anything else."""
    text = secret.decode("ascii", "replace")
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not text.startswith("whsec_") or not key:
        raise ValueError("a Standard Webhooks secret is `whsec_` followed by base64")
    return key


def check_github(header: str | None, body: bytes, secrets: Sequence[tuple[bytes, S]]) -> list[S]:
    """Return which of `secrets` signed `body`. Raises BadSignature if none did."""
    scheme, _, given = (header or "").partition("=")
    if scheme != "sha256" or not _HEX.fullmatch(given):
        raise BadSignature("X-Hub-Signature-256 is missing or not `sha256=` and 64 lower-case hex digits")
    return signed_by(given, body, secrets)


def check_circleci(header: str | None, body: bytes, secrets: Sequence[tuple[bytes, S]]) -> list[S]:
    """Return which secret made circleci-signature.

    It is a list of `vN=HEX`, of which v1 alone is known and must be there once.
    """
    parts = [part.strip().partition("=") for part in (header or "").split(",")]
    given = [value for version, _, value in parts if version == "v1"]
    if len(given) != 1 or not _HEX.fullmatch(given[0]):
        raise BadSignature("circleci-signature is missing, or has not one `v1=` with 64 lower-case hex digits")
    return signed_by(given[0], body, secrets)


def check_standard_webhooks(
    id: str | None,
    timestamp: str | None,
    header: str | None,
    body: bytes,
    now: float,
    secrets: Sequence[tuple[bytes, S]],
) -> list[S]:
    """Return which secret made the three webhook- headers; several signatures may be given, one must be right."""
    if id is None or not _ID.fullmatch(id) or "," in id:
        raise BadSignature("webhook-id is missing or malformed")
    if timestamp is None or not timestamp.isascii() or not timestamp.isdecimal() or len(timestamp) > 12:
        raise BadSignature("webhook-timestamp is missing or not whole seconds since 1970")
    if abs(now - int(timestamp)) > TOLERANCE:
        raise BadSignature(
            f"webhook-timestamp is more than {TOLERANCE} s from Greenlight's clock: check the sender's clock"
        )
    given = [_decoded(part) for part in (header or "").split(" ")[:16] if part.startswith("v1,")]
    if not given:
        raise BadSignature("webhook-signature is missing or has no `v1,`")
    signed = f"{id}.{timestamp}.".encode() + body
    expected = [(hmac.digest(key_of(secret), signed, "sha256"), what) for secret, what in secrets]
    return _right_any(given, expected)


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part[3:], validate=True)
    except ValueError:  # not base64, or not even ASCII
        return b""


def signed_by(given: str, signed: bytes, secrets: Sequence[tuple[bytes, S]]) -> list[S]:
    """Return which of the secrets signed the bytes `signed`: `given` is their HMAC-SHA-256 in hex.

    BadSignature if none.
    """
    expected = [(hmac.digest(secret, signed, "sha256"), what) for secret, what in secrets]
    return _right_any([bytes.fromhex(given)], expected)


def _right_any(given: Sequence[bytes], expected: Sequence[tuple[bytes, S]]) -> list[S]:
    """Compare every pair, in constant time and without stopping at the first that is right."""
    right = [what for digest, what in expected if sum(hmac.compare_digest(digest, one) for one in given)]
    if not right:
        raise BadSignature("the signature matches no secret of this sender")
    return right
