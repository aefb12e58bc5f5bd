"""AWS over plain HTTP: signed with Signature Version 4, sent over a pool of connections, tried again with jitter.

An SDK's client costs more than the work that it does (docs/decisions/0008-dynamodb-by-hand.md).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import TypeVar
from urllib.parse import urlsplit

from greenlight.ledger.dynamodb.aws_connections import Answer, Connections
from greenlight.ledger.dynamodb.aws_credentials import Credentials, Kept, credentials, region
from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.errors import Unavailable
from greenlight.lib.jitter import full_jitter

T = TypeVar("T")

TRIES = 8
PATIENCE = 6.0
"""Seconds after which no further try begins, so that who waits for us (GitHub: 10 s) gets an answer."""

POOL = 40
"""Connections that are kept open: more than any service has threads."""


@dataclass(frozen=True)
class Account:
    """Who we are, and where. `credentials()` is asked for each request, so that refreshed ones are used.

    `renew()` forgets those that AWS has refused, if others can be had.
    """

    region: str
    credentials: Callable[[], Credentials]
    renew: Callable[[], None] = lambda: None


def account(env: Mapping[str, str] | None = None, clock: Clock | None = None) -> Account:
    """The account of the environment. Raises ConfigurationError where it names no region or no credentials."""
    env = os.environ if env is None else env
    where = region(env)
    found = credentials(env, endpoint("sts", where, env), clock or SystemClock())
    return Account(where, found, found.forget) if isinstance(found, Kept) else Account(where, found)


def endpoint(service: str, region: str, env: Mapping[str, str] | None = None) -> str:
    """Where a service is reached: as AWS_ENDPOINT_URL_SERVICE or AWS_ENDPOINT_URL say, else the region's own endpoint."""
    env = os.environ if env is None else env
    named = env.get(f"AWS_ENDPOINT_URL_{service.upper()}") or env.get("AWS_ENDPOINT_URL")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return named or f"https://{service}.{region}.{suffix}"


class Signer:
    """Signature Version 4 for one service in one region. The key that it derives from a secret is good for a day, and kept."""

    def __init__(self, service: str, region: str) -> None:
        self._service, self._region = service, region
        self._derived: tuple[tuple[str, str], bytes] | None = None

    def sign(
        self, method: str, path: str, headers: dict[str, str], payload: str, stamp: str, credentials: Credentials
    ) -> None:
        """Add to `headers` (lower-case, with host) what says who sends them; `payload` is the body's SHA-256 in hex.

        `stamp` is the time as YYYYMMDDTHHMMSSZ; `path` is encoded, without a query.
        """
        headers["x-amz-date"] = stamp
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        names = sorted(headers)
        lines = "".join([f"{name}:{headers[name]}\n" for name in names])
        signed = ";".join(names)
        request = f"{method}\n{path}\n\n{lines}\n{signed}\n{payload}"
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key(credentials.secret_key, stamp[:8]), text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )

    def _key(self, secret: str, day: str) -> bytes:
        kept = self._derived
        if kept is not None and kept[0] == (secret, day):
            return kept[1]
        key = f"AWS4{secret}".encode()
        for part in (day, self._region, self._service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._derived = ((secret, day), key)
        return key


class Again(Exception):
    """This answer asks for another try: `str` says why, for people."""


class Expired(Exception):
    """The credentials are refused: `refusal` says so, if others are as well."""

    def __init__(self, refusal: Unavailable) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class Service:
    """One service of AWS. Made once and shared: it is safe for threads, and keeps connections open."""

    def __init__(
        self,
        name: str,
        url: str,
        account: Account,
        *,
        clock: Clock | None = None,
        pause: Callable[[int], None] = full_jitter,
        ca_certs: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        self.url = url
        self._name = name
        self._root = parts.path.rstrip("/")
        self._host = parts.netloc
        self._account = account
        self._signer = Signer(name, account.region)
        self._clock = clock or SystemClock()
        self._pause = pause
        self._connections = Connections(url, most=POOL, ca_certs=ca_certs)

    def call(self, method: str, path: str, headers: Mapping[str, str], body: bytes, judge: Callable[[Answer], T]) -> T:
        """What `judge` makes of the answer. Where it raises Again, or no answer comes, the same is sent again.

        So whatever is sent must mean the same twice. Credentials that are refused are renewed once. Raises Unavailable
        when no try succeeded.
        """
        began = self._clock.monotonic()
        payload = hashlib.sha256(body).hexdigest()
        renewed = False
        for attempt in range(TRIES):
            try:
                return judge(self._send(method, path, headers, body, payload))
            except (OSError, HTTPException, Again) as problem:
                reason = str(problem) or type(problem).__name__
            except Expired as problem:
                if renewed:
                    raise problem.refusal from None
                self._account.renew()
                reason, renewed = str(problem), True
            if self._clock.monotonic() - began > PATIENCE:
                break
            if attempt < TRIES - 1:
                self._pause(attempt)
        raise Unavailable(f"{self._name} at {self.url} did not do it in {attempt + 1} tries; the last: {reason}")

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes, payload: str) -> Answer:
        path = self._root + path
        stamp = self._clock.now().strftime("%Y%m%dT%H%M%SZ")
        signed = {"host": self._host, **headers}
        if self._name == "s3":
            signed["x-amz-content-sha256"] = payload
        self._signer.sign(method, path, signed, payload, stamp, self._account.credentials())
        return self._connections.send(method, path, signed, body)


def service(
    name: str, account: Account, env: Mapping[str, str] | None = None, *, clock: Clock | None = None
) -> Service:
    """The service `name` where the environment says that it is."""
    env = os.environ if env is None else env
    url = endpoint(name, account.region, env)
    return Service(name, url, account, clock=clock, ca_certs=env.get("AWS_CA_BUNDLE"))
