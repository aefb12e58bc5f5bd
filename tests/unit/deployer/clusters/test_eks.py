"""Access to EKS: the token as it is documented, both refreshed in time, and AWS's refusals told from its absence."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import parse_qsl, quote, urlsplit

import botocore.session
import pytest

from greenlight.deployer.clusters.eks import Eks
from greenlight.lib.errors import ConfigurationError, Unavailable
from support.aws import KEY, SECRET, Aws, aws
from support.ledger import HandClock

ROLE = "arn:aws:iam::222222222222:role/deploy"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    with aws(monkeypatch) as found:
        yield found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """One that botocore signs by as well."""
    clock = HandClock()
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: clock.time.replace(tzinfo=None))
    return clock


def _url(token: str) -> str:
    """What a token is made of."""
    prefix, _, text = token.partition("k8s-aws-v1.")
    assert prefix == ""
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def _signature(url: str, headers: dict[str, str], secret: str) -> str:
    """Signature Version 4 of a presigned GET, worked out as AWS's documentation describes it, without botocore."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, strict_parsing=True))
    query.pop("X-Amz-Signature")
    canonical = "\n".join(
        [
            "GET",
            parts.path,
            "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query)),
            *(f"{name}:{headers[name]}" for name in sorted(headers)),
            "",
            ";".join(sorted(headers)),
            hashlib.sha256(b"").hexdigest(),
        ]
    )
    _, day, region, service, end = query["X-Amz-Credential"].split("/")
    scope = f"{day}/{region}/{service}/{end}"
    text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for word in (day, region, service, end):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "sts.eu-west-1.amazonaws.com"),
        ("us-east-1", "sts.us-east-1.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_token_is_the_documented_one(cloud: Aws, clock: HandClock, region: str, host: str) -> None:
    """Host, path, parameters and signed headers are what an API server's authenticator checks; nothing is asked of AWS."""
    token = Eks("shop-prod", region, None, clock).token()
    parts = urlsplit(_url(token))
    assert (parts.scheme, parts.netloc, parts.path) == ("https", host, "/")
    query = parse_qsl(parts.query, strict_parsing=True)
    given = dict(query)
    assert len(query) == len(given), "no parameter is there twice"
    signature = given.pop("X-Amz-Signature")
    assert given == {
        "Action": "GetCallerIdentity",
        "Version": "2011-06-15",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{KEY}/{clock.time:%Y%m%d}/{region}/sts/aws4_request",
        "X-Amz-Date": f"{clock.time:%Y%m%dT%H%M%SZ}",
        "X-Amz-Expires": "60",
        "X-Amz-SignedHeaders": "host;x-k8s-aws-id",
    }
    assert signature == _signature(parts.geturl(), {"host": host, "x-k8s-aws-id": "shop-prod"}, SECRET)
    assert len(token) <= 4096
    assert (cloud.asked, cloud.assumed) == ([], [])


def test_the_token_is_byte_for_byte_that_of_botocores_sts_client(
    cloud: Aws, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client with the header put in before signing, which is how the AWS CLI makes its token."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_STS")
    sts = botocore.session.Session().create_client("sts", region_name="eu-west-1")
    sts.meta.events.register(
        "before-sign.sts.GetCallerIdentity",
        lambda request, **_: request.headers.__setitem__("x-k8s-aws-id", "shop-prod"),
    )
    url = sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    assert _url(Eks("shop-prod", "eu-west-1", None, clock).token()) == url


def test_a_token_is_made_anew_before_it_ends(cloud: Aws, clock: HandClock) -> None:
    """The same for five minutes of the ten that it has at the least; another when refused, or when the clock was set back."""
    cluster = Eks("shop-prod", "eu-west-1", None, clock)
    first, begun = cluster.token(), clock.time
    clock.time = begun + timedelta(minutes=4, seconds=59)
    assert cluster.token() == first
    clock.time = begun + timedelta(minutes=5)
    second = cluster.token()
    assert second != first
    assert dict(parse_qsl(urlsplit(_url(second)).query))["X-Amz-Date"] == f"{clock.time:%Y%m%dT%H%M%SZ}"
    clock.time += timedelta(seconds=1)
    cluster.forget()
    assert cluster.token() not in (first, second)
    clock.time = begun
    assert cluster.token() == first


def test_the_cluster_is_described_once_an_hour_and_when_it_changed(cloud: Aws, clock: HandClock) -> None:
    """By a signed request to EKS of that region; what comes back is an address and certificates."""
    cloud.describes("shop-prod", "https://ABC.gr7.eu-west-1.eks.amazonaws.com", b"-----BEGIN CERTIFICATE-----\n")
    cluster = Eks("shop-prod", "eu-west-1", None, clock)
    found = cluster.endpoint()
    assert found.server == "https://ABC.gr7.eu-west-1.eks.amazonaws.com"
    assert found.authority == b"-----BEGIN CERTIFICATE-----\n"
    ((path, headers),) = cloud.asked
    assert path == "/clusters/shop-prod"
    assert f"Credential={KEY}/{clock.time:%Y%m%d}/eu-west-1/eks/aws4_request" in headers["Authorization"]
    clock.time += timedelta(minutes=59)
    assert cluster.endpoint() == found
    assert len(cloud.asked) == 1
    cloud.describes("shop-prod", "https://ABC.gr7.eu-west-1.eks.amazonaws.com", b"another")
    clock.time += timedelta(minutes=1)
    assert cluster.endpoint().authority == b"another"
    cloud.describes("shop-prod", "https://ABC.gr7.eu-west-1.eks.amazonaws.com", b"a third")
    cluster.forget()
    assert cluster.endpoint().authority == b"a third"


def test_a_role_signs_and_is_assumed_again_before_it_ends(cloud: Aws, clock: HandClock) -> None:
    """Under a name that the cluster's audit log shows; it describes the cluster, too, which may be in its account only."""
    cloud.describes("shop-prod", "https://there", b"ca")
    cluster = Eks("shop-prod", "eu-west-1", ROLE, clock)
    query = dict(parse_qsl(urlsplit(_url(cluster.token())).query))
    assert query["X-Amz-Credential"].startswith("ASIAROLE1/")
    assert query["X-Amz-Security-Token"] == "session-1"
    assert (cloud.assumed[0]["RoleArn"], cloud.assumed[0]["RoleSessionName"]) == (ROLE, "greenlight-deployer")
    cluster.endpoint()
    assert "Credential=ASIAROLE1/" in cloud.asked[0][1]["Authorization"]
    clock.time += timedelta(minutes=5)
    cluster.token()
    assert len(cloud.assumed) == 1, "an hour's credentials sign twelve tokens"

    cloud.role_lasts = timedelta(minutes=9)  # as near to its end as botocore lets credentials come
    cluster = Eks("shop-prod", "eu-west-1", ROLE, clock)
    cluster.token()
    clock.time += timedelta(minutes=5)
    query = dict(parse_qsl(urlsplit(_url(cluster.token())).query))
    assert query["X-Amz-Credential"].startswith(f"ASIAROLE{len(cloud.assumed)}/")
    assert len(cloud.assumed) > 2


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        ((404, "ResourceNotFoundException"), "look at `name`, `region`"),
        ((403, "AccessDeniedException"), "allow eks:DescribeCluster"),
        ((403, "UnrecognizedClientException"), "AWS does not know the credentials"),
    ],
)
def test_a_refusal_says_what_to_mend(cloud: Aws, clock: HandClock, refusal: tuple[int, str], advice: str) -> None:
    """It is no outage: asking again would not help."""
    cloud.refusal = refusal
    with pytest.raises(ConfigurationError, match="EKS cluster shop-prod in eu-west-1") as raised:
        Eks("shop-prod", "eu-west-1", None, clock).endpoint()
    assert advice in str(raised.value)
    assert len(cloud.asked) == 1


def test_no_credentials_at_all_is_said_before_anything_is_asked(
    cloud: Aws, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the ways to have some."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigurationError, match="no AWS credentials"):
        Eks("shop-prod", "eu-west-1", None, clock).token()


def test_what_may_pass_is_unavailable(cloud: Aws, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens; a cluster that is being made has no address; it is asked for again the next time."""
    cluster = Eks("shop-prod", "eu-west-1", None, clock)
    cloud.clusters["shop-prod"] = {"name": "shop-prod", "status": "CREATING"}
    with pytest.raises(Unavailable, match="CREATING, without an address yet"):
        cluster.endpoint()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with monkeypatch.context() as env:
        env.setenv("AWS_ENDPOINT_URL_EKS", f"http://127.0.0.1:{port}")
        with pytest.raises(Unavailable, match="eks:DescribeCluster"):
            cluster.endpoint()
    cloud.describes("shop-prod", "https://there", b"ca")
    assert cluster.endpoint().server == "https://there"
