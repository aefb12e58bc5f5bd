"""Who we are to AWS. What a pod is given is read by ourselves; everything else is left to botocore, which costs a start a
tenth of a second (docs/decisions/0008-dynamodb-by-hand.md).

| the environment has | credentials come from |
| --- | --- |
| AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY | there |
| AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN (IRSA) | STS, for the ServiceAccount's token |
| AWS_CONTAINER_CREDENTIALS_FULL_URI (EKS Pod Identity) | the node's agent |
| AWS_PROFILE, or none of these | botocore's chain: files, processes, SSO, the instance |
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlencode, urlsplit

import orjson
import urllib3

from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError, Misconfigured, Unavailable
from greenlight.lib.jitter import full_jitter

TIMEOUT = urllib3.Timeout(connect=1.0, read=3.0)
TRIES = 3

EARLY = timedelta(minutes=10)
"""Before they expire, new ones are asked for; until then who asks gets the old ones, also where that fails."""

SELDOM = timedelta(minutes=1)
"""Between two attempts to renew what is still valid: whoever makes one waits for it."""

AGENTS = ("127.0.0.1", "::1", "localhost", "169.254.170.2", "169.254.170.23", "fd00:ec2::23")
"""Hosts to which a pod's token may go without TLS: this machine, and the agents of ECS and EKS."""


class Credentials(Protocol):
    """What a request is signed with; botocore's read-only credentials are such."""

    @property
    def access_key(self) -> str: ...

    @property
    def secret_key(self) -> str: ...

    @property
    def token(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Given:
    """Credentials, and until when: None for ever. Its representation does not show them."""

    access_key: str
    secret_key: str
    token: str | None = None
    until: datetime | None = None

    def __repr__(self) -> str:
        return f"<credentials of {self.access_key[:4]}… until {self.until}>"


def credentials(env: Mapping[str, str], sts: str, clock: Clock) -> Callable[[], Credentials]:
    """What gives the credentials that are valid now; `sts` is where STS is. Raises ConfigurationError where there are none."""
    if env.get("AWS_PROFILE"):
        return _botocore()
    if env.get("AWS_ACCESS_KEY_ID") and env.get("AWS_SECRET_ACCESS_KEY"):
        given = Given(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env.get("AWS_SESSION_TOKEN") or None)
        return lambda: given
    if env.get("AWS_WEB_IDENTITY_TOKEN_FILE") and env.get("AWS_ROLE_ARN"):
        return Kept(lambda: _web_identity(env, sts), clock)
    if env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        _check_agent(env["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
        return Kept(lambda: _pod_identity(env), clock)
    return _botocore()


class Kept:
    """Credentials that are fetched when they are first wanted, and again before they expire, by one thread at a time."""

    def __init__(self, fetch: Callable[[], Given], clock: Clock) -> None:
        self._fetch, self._clock = fetch, clock
        self._given: Given | None = None
        self._rest: datetime | None = None  # no attempt before then
        self._lock = threading.Lock()

    def __call__(self) -> Credentials:
        """The valid ones. Raises Unavailable where there are none and none can be had."""
        given = self._given
        if given is not None and self._left(given) > EARLY:
            return given
        usable = given is not None and self._left(given) > timedelta(0)
        if given is not None and usable and self._rest is not None and self._clock.now() < self._rest:
            return given
        if not self._lock.acquire(blocking=not usable):
            assert given is not None
            return given  # somebody is about to bring new ones
        try:
            if self._given is given:  # and not brought by somebody while we waited
                self._given = self._fetch()
        except Unavailable:
            if not usable:
                raise
            self._rest = self._clock.now() + SELDOM
        finally:
            self._lock.release()
        assert self._given is not None
        return self._given

    def forget(self) -> None:
        """AWS does not take them any more: the next who asks gets new ones."""
        self._given = self._rest = None

    def _left(self, given: Given) -> timedelta:
        return timedelta.max if given.until is None else given.until - self._clock.now()


def _web_identity(env: Mapping[str, str], sts: str) -> Given:
    """AssumeRoleWithWebIdentity, which is not signed: the ServiceAccount's token, as it is on the disk now, is what counts."""
    asked = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": env["AWS_ROLE_ARN"],
        "RoleSessionName": env.get("AWS_ROLE_SESSION_NAME") or "greenlight",
        "WebIdentityToken": _read(env["AWS_WEB_IDENTITY_TOKEN_FILE"]),
    }
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "text/xml"}
    body = _asked("STS", "POST", sts, headers, urlencode(asked)).decode("utf-8", "replace")
    said = dict(re.findall(r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration)>([^<]+)</", body))
    return _given("STS", said, "SessionToken")


def _pod_identity(env: Mapping[str, str]) -> Given:
    """What the agent gives for the pod's token, as it is on the disk now."""
    file = env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    token = _read(file) if file else env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    headers = {"accept": "application/json"} | ({"authorization": token} if token else {})
    body = _asked("the Pod Identity agent", "GET", env["AWS_CONTAINER_CREDENTIALS_FULL_URI"], headers, "")
    try:
        said: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = {}
    return _given("the Pod Identity agent", said if isinstance(said, dict) else {}, "Token")


def _check_agent(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in AGENTS):
        raise ConfigurationError(
            f"AWS_CONTAINER_CREDENTIALS_FULL_URI is {uri!r}; it must be https, or one of {', '.join(AGENTS)}"
        )


def _read(file: str) -> str:
    try:
        token = Path(file).read_text().strip()
    except (OSError, UnicodeError) as problem:
        raise Misconfigured(f"the token in {file} cannot be read: {problem}") from None
    if not token or not token.isprintable():
        raise Misconfigured(f"{file} holds no token")
    return token


def _asked(who: str, method: str, url: str, headers: Mapping[str, str], body: str) -> bytes:
    """The body of a good answer. Raises Misconfigured for what only a person can mend, else Unavailable."""
    reason = ""
    for attempt in range(TRIES):
        try:
            answer = urllib3.request(
                method, url, body=body or None, headers=headers, retries=False, redirect=False, timeout=TIMEOUT
            )
        except urllib3.exceptions.HTTPError as problem:
            reason = str(problem)
        else:
            if answer.status == 200:
                return answer.data
            found = re.search(rb"<(?:Code|Message)>([^<]+)</|\"message\":\s*\"([^\"]+)", answer.data)
            said = next((it.decode("utf-8", "replace") for it in (found.groups() if found else ()) if it), "")
            reason = f"{answer.status} {said}".rstrip()
            if answer.status < 500 and answer.status != 429 and said not in ("IDPCommunicationError", "Throttling"):
                raise Misconfigured(
                    f"{who} gives no credentials: {reason}; look at the role's trust and its association"
                )
        if attempt < TRIES - 1:
            full_jitter(attempt)
    raise Unavailable(f"{who} gave no credentials in {TRIES} tries; the last: {reason}")


def _given(who: str, said: Mapping[str, Any], token: str) -> Given:
    try:
        until = datetime.fromisoformat(str(said["Expiration"]).replace("Z", "+00:00"))
        return Given(str(said["AccessKeyId"]), str(said["SecretAccessKey"]), str(said[token]), until)
    except (KeyError, ValueError) as problem:
        raise Unavailable(f"{who} answered, but not with credentials: {problem!r}") from None


def _botocore() -> Callable[[], Credentials]:
    from botocore.session import Session  # a tenth of a second, and only where it is needed

    found = Session().get_credentials()
    if found is None:
        raise ConfigurationError(
            "no AWS credentials: give the ServiceAccount a role (IRSA or Pod Identity), or set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY"
        )
    return cast(Callable[[], Credentials], found.get_frozen_credentials)


def region(env: Mapping[str, str]) -> str:
    """The region of the environment, or of AWS's configuration. Raises ConfigurationError."""
    found = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    if not found and (
        env.get("AWS_PROFILE") or Path(env.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser().exists()
    ):
        from botocore.session import Session

        found = Session().get_config_variable("region")
    if not found:
        raise ConfigurationError("no AWS region: set AWS_REGION")
    return str(found)
