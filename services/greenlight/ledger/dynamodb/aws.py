"""AWS by boto3: the account, and clients whose requests are bounded in time and sent again where that helps.

Importing this imports boto3, a tenth of a second of a start: so only what uses DynamoDB does
(docs/decisions/0019-aws-by-boto3.md).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.parsers import ResponseParserError

from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.errors import ConfigurationError, Misconfigured, Unavailable
from greenlight.lib.jitter import full_jitter

TRIES = 8
RETRY_FOR = 6.0
"""Seconds after which no further try begins, so that a sender that waits (GitHub: 10 s) gets an answer."""

CONNECT, READ = 1.0, 3.0
"""Seconds that a connection, and each piece of an answer, may take."""

POOL = 40
"""Connections that are kept open: more than any service has threads."""

_CREDENTIALS = (
    "give the ServiceAccount a role (IRSA or Pod Identity), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)

_NO_ANSWER = (HTTPClientError, ConnectionError, IncompleteReadError, ResponseParserError, FlexibleChecksumError)
"""Nothing came back, or not all of it, or something else: the same request may succeed."""


@dataclass(frozen=True)
class Account:
    """The account and region that requests are made in. botocore renews the credentials before they end."""

    region: str
    session: boto3.session.Session
    credentials: Credentials


def account() -> Account:
    """Find region and credentials as every AWS SDK does: environment, pod, profile, instance.

    Raises ConfigurationError where there are none, Unavailable where they cannot be fetched now.
    """
    core = botocore.session.Session()
    # For the client of STS that fetches the credentials of a ServiceAccount; by itself it waits for a minute.
    core.set_default_client_config(
        Config(connect_timeout=CONNECT, read_timeout=READ, retries={"mode": "standard", "total_max_attempts": 3})
    )
    try:
        region = os.environ.get("AWS_REGION") or core.get_config_variable("region")
        if not region:
            raise ConfigurationError("no AWS region: set AWS_REGION")
        session = boto3.session.Session(botocore_session=core, region_name=region)
        credentials = session.get_credentials()
    except CredentialRetrievalError as problem:
        raise Unavailable(f"no AWS credentials now: {problem}") from problem
    except (BotoCoreError, OSError, ValueError) as problem:  # a profile, a token's file, an agent's address
        raise ConfigurationError(f"no AWS credentials: {problem}") from problem
    if credentials is None:
        raise ConfigurationError(f"no AWS credentials: {_CREDENTIALS}")
    return Account(region, session, credentials)


class RetryNeeded(Exception):
    """Report that the answer requires another try: `str` is the reason, for people."""


class Service:
    """One service of AWS. Made once and shared: it is safe for threads, and keeps connections open."""

    def __init__(
        self,
        name: str,
        account: Account,
        *,
        url: str | None = None,
        clock: Clock | None = None,
        pause: Callable[[int], None] = full_jitter,
    ) -> None:
        """Ask nothing yet.

        Without `url`, the address is that of AWS_ENDPOINT_URL_SERVICE, AWS_ENDPOINT_URL or the region.
        """
        config = Config(
            connect_timeout=CONNECT,
            read_timeout=READ,
            max_pool_connections=POOL,
            parameter_validation=False,  # DynamoDB checks the same; of a large transaction it is a quarter of the CPU
            retries={"mode": "standard", "total_max_attempts": 1},  # `call` tries again
            s3={"addressing_style": "path", "payload_signing_enabled": True},
        )
        client = account.session.client(name, endpoint_url=url, config=config)
        client.meta.events.register("before-parse.dynamodb", _check_crc32)
        self.url: str = client.meta.endpoint_url
        self._methods = {of: getattr(client, method) for method, of in client.meta.method_to_api_mapping.items()}
        self._name, self._credentials = name, account.credentials
        self._clock, self._pause = clock or SystemClock(), pause

    def call(
        self,
        operation: str,
        request: Mapping[str, Any],
        to_error: Callable[[ClientError], Exception],
        read: Callable[[dict[str, Any]], Any] = lambda answer: answer,
    ) -> Any:
        """Return what `read` makes of the answer.

        Where `to_error` makes RetryNeeded of an error, or no answer comes, send it again. So a request that is sent twice must
        have the effect of one. Raises what `to_error` made of an error; Unavailable when no try succeeded, Misconfigured where
        none could.
        """
        began = self._clock.monotonic()
        do = self._methods[operation]
        for attempt in range(TRIES):
            _renew(self._credentials)
            try:
                return read(do(**request))
            except ClientError as problem:
                found = to_error(problem)
                if not isinstance(found, RetryNeeded):
                    raise found from None
                reason = str(found)
            except (*_NO_ANSWER, RetryNeeded) as problem:
                reason = str(problem)
            except BotoCoreError as problem:
                raise Misconfigured(f"{self._name}: {problem}") from problem
            if self._clock.monotonic() - began > RETRY_FOR:
                break
            if attempt < TRIES - 1:
                self._pause(attempt)
        raise Unavailable(f"{self._name} at {self.url} did not do it in {attempt + 1} tries; the last: {reason}")


def _renew(credentials: Credentials) -> None:
    """Renew credentials that are about to end, apart from the request that needs them.

    Raises Misconfigured for what only a person can mend, else Unavailable: botocore has tried again already.
    """
    try:
        credentials.get_frozen_credentials()
    except ClientError as problem:
        error, status = problem.response["Error"], problem.response["ResponseMetadata"]["HTTPStatusCode"]
        text = f"STS gives no credentials: {error['Code']}: {error.get('Message', '')}"
        if status >= 500 or status == 429 or error["Code"] in ("IDPCommunicationError", "Throttling"):
            raise Unavailable(text) from problem
        raise Misconfigured(f"{text}; look at the role's trust and at the ServiceAccount's annotation") from problem
    except (CredentialRetrievalError, *_NO_ANSWER) as problem:
        raise Unavailable(f"no AWS credentials now: {problem}") from problem
    except OSError as problem:
        raise Misconfigured(f"no AWS credentials: the ServiceAccount's token cannot be read: {problem}") from problem
    except (BotoCoreError, ValueError, RuntimeError) as problem:  # the last: they have ended by this machine's clock
        raise Misconfigured(f"no AWS credentials: {problem}") from problem


def _check_crc32(response_dict: Mapping[str, Any], **_: Any) -> None:
    """Raise RetryNeeded for an answer that is not what DynamoDB sent. botocore looks only while it may try again by itself."""
    checksum = response_dict["headers"].get("x-amz-crc32")
    if checksum is not None and int(checksum) != zlib.crc32(response_dict["body"]):
        raise RetryNeeded("the answer was damaged on its way")
