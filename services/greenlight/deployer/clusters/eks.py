"""A cluster of Amazon EKS: its address from DescribeCluster, and a token for it.

The token is the one that aws-iam-authenticator documents: `k8s-aws-v1.` and, in base64url without padding, a presigned
`GET https://sts.REGION.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15` whose signature covers the header
`x-k8s-aws-id: CLUSTER`. Signing is arithmetic: nothing is requested, and no program is started. Address and
certificate authority come from DescribeCluster.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.endpoint import ApiEndpoint
from greenlight.deployer.clusters.helm_environment import AuthorityFile, helm_environment
from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from boto3.session import Session

T = TypeVar("T")

TOKEN_AGE = timedelta(minutes=5)
"""When a token is made anew. It is good for 15 minutes after signing, or until the credentials that signed it end, which
botocore renews 10 minutes before their end at the latest: so that each caller gets one with at least 5 minutes left."""

CLUSTER_AGE = timedelta(hours=1)
"""When a cluster is described again: its address is for life, its certificate authority changes once in years."""

SESSION = "greenlight-deployer"
"""The name under which an assumed role is seen in the cluster's audit log."""

_EXPIRES = 60
"""Seconds: what the documented format says; STS takes the URL for 15 minutes all the same."""

_WRONG = {
    "ResourceNotFoundException": "there is no such cluster; look at `name`, `region`, and in whose account `role` is",
    "AccessDeniedException": "the caller may not describe it; allow eks:DescribeCluster",
    "AccessDenied": "the caller may not assume the role; its trust policy has to name the caller",
    "UnrecognizedClientException": "AWS does not know the credentials",
    "ExpiredTokenException": "the credentials have ended; give the process ones that are renewed, as a role's are",
    "ExpiredToken": "the credentials have ended; give the process ones that are renewed, as a role's are",
    "InvalidClientTokenId": "AWS does not know the credentials",
    "SignatureDoesNotMatch": "the secret key is wrong, or this machine's clock is",
}
"""Refusals that asking again does not change, and what to do about each."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Hold the address of an API server, and the certificates to trust there."""

    server: str  # https://HOST
    authority: bytes  # certificates, PEM


class Eks:
    """Reach `{eks: {name, region, role?}}`: one cluster of EKS, with the role to assume for it. Safe for many threads.

    Every method raises Unavailable where trying again helps, and ConfigurationError where a person has to act.
    """

    def __init__(self, name: str, region: str, role: str | None, clock: Clock) -> None:
        """Request nothing yet, and do not import boto3 yet."""
        self.name, self.region, self.role = name, region, role
        self._endpoint = _Kept(self._describe, CLUSTER_AGE, clock)
        self._token = _Kept(self._sign, TOKEN_AGE, clock)
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._file = AuthorityFile()
        self._api = Api(self._api_endpoint, self.forget)

    def helm(self) -> Mapping[str, str]:
        """Return variables for one run of Helm that begins now: its token is not renewed, and has 5 minutes at the least."""
        endpoint = self.endpoint()
        return helm_environment(endpoint.server, self._file.path(endpoint.authority), self.token())

    def api(self) -> Api:
        """Return the client."""
        return self._api

    def endpoint(self) -> Endpoint:
        """Return its address and certificate authority, which are requested once an hour."""
        return self._endpoint.value()

    def token(self) -> str:
        """Return a bearer token with at least 5 minutes to live, the same for everybody: the API server caches its verdict."""
        return self._token.value()

    def forget(self) -> None:
        """Describe and sign anew: the API server refused the token, or its certificate is not the one that was described."""
        self._endpoint.forget()
        self._token.forget()

    def _api_endpoint(self) -> ApiEndpoint:
        endpoint = self.endpoint()
        return ApiEndpoint(endpoint.server, endpoint.authority, self.token())

    def _describe(self) -> Endpoint:
        with self._requesting("eks:DescribeCluster"):
            key = self._signer().get_frozen_credentials()
            eks = _client(
                "eks",
                self.region,
                aws_access_key_id=key.access_key,
                aws_secret_access_key=key.secret_key,
                aws_session_token=key.token,
            )
            cluster = eks.describe_cluster(name=self.name)["cluster"]
        if "endpoint" not in cluster or "certificateAuthority" not in cluster:
            raise Unavailable(f"{self}: the cluster is {cluster.get('status', 'not there')}, without an address yet")
        return Endpoint(cluster["endpoint"], base64.b64decode(cluster["certificateAuthority"]["data"]))

    def _sign(self) -> str:
        from botocore.model import ServiceId
        from botocore.signers import RequestSigner

        with self._requesting("signing"):
            signer = RequestSigner(ServiceId("STS"), self.region, "sts", "v4", self._signer(), _session().events)
            request = {
                "method": "GET",
                "url": f"{_sts_endpoint(self.region)}/?Action=GetCallerIdentity&Version=2011-06-15",
                "headers": {"x-k8s-aws-id": self.name},
                "body": {},
                "context": {},
            }
            url = signer.generate_presigned_url(request, "GetCallerIdentity", _EXPIRES)
        return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")

    def _signer(self) -> Any:
        """Return the credentials that sign, kept so that botocore can renew them: the process's own, or the role's."""
        with self._lock:
            if self._credentials is None:
                own = _session().get_credentials()
                if own is None:
                    raise ConfigurationError(
                        f"{self}: this process has no AWS credentials: give its ServiceAccount a role (EKS Pod Identity or "
                        "IRSA), or set AWS_PROFILE or AWS_ACCESS_KEY_ID"
                    )
                self._credentials = own if self.role is None else _assumed(self.role, self.region, own)
            return self._credentials

    @contextmanager
    def _requesting(self, what: str) -> Iterator[None]:
        """Distinguish AWS's refusals from its absence."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as problem:
            error = problem.response.get("Error", {})
            code, message = error.get("Code", ""), error.get("Message", str(problem))
            if code in _WRONG:
                raise ConfigurationError(f"{self}: {what}: {code}: {message} ({_WRONG[code]})") from problem
            raise Unavailable(f"{self}: {what}: {code}: {message}") from problem
        except BotoCoreError as problem:
            raise Unavailable(f"{self}: {what}: {problem}") from problem

    def __str__(self) -> str:
        return f"EKS cluster {self.name} in {self.region}"


class _Kept(Generic[T]):
    """Keep a value, and find it anew once it is too old. One thread finds it while others wait."""

    def __init__(self, find: Callable[[], T], age: timedelta, clock: Clock) -> None:
        self._find, self._age, self._clock = find, age, clock
        self._lock = threading.Lock()
        self._known: tuple[T, datetime] | None = None

    def value(self) -> T:
        now = self._clock.now()
        with self._lock:
            # Also a clock that was set back ends an age: it counts from the time of signing, which STS compares with its own.
            if self._known is None or not timedelta() <= now - self._known[1] < self._age:
                self._known = (self._find(), now)
            return self._known[0]

    def forget(self) -> None:
        with self._lock:
            self._known = None


_LOCK = threading.Lock()
"""Held while a client is made: a session may be shared by threads for everything else."""


@cache
def _session() -> Session:
    """Return one session for the process.

    It reads AWS's files and variables once, and each service's description once.
    """
    import boto3.session

    return boto3.session.Session()


def _assumed(role: str, region: str, own: Any) -> Any:
    """Return credentials of `role`, assumed with `own` when first needed and again before they end."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    fetcher = AssumeRoleCredentialFetcher(
        lambda service, **key: _client(service, region, **key), own, role, {"RoleSessionName": SESSION}
    )
    return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")


@cache
def _sts_endpoint(region: str) -> str:
    """Return STS's own address, whatever AWS_ENDPOINT_URL_STS is.

    An API server accepts no token with another address.
    """
    url: str = _client("sts", region, {"ignore_configured_endpoint_urls": True}).meta.endpoint_url
    return url


def _client(service: str, region: str, options: Mapping[str, Any] | None = None, **key: str) -> Any:
    """Return a client that waits for seconds, not for botocore's minute: a deployment waits for it."""
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": 3}
    config = Config(connect_timeout=3, read_timeout=10, retries=retries, **(options or {}))
    with _LOCK:
        return _session().client(service, region_name=region, config=config, **key)
