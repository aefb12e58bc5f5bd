"""Signature Version 4, compared with botocore's own signers."""

from __future__ import annotations

import hashlib
from datetime import datetime

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlight.ledger.dynamodb import aws
from greenlight.lib.errors import ConfigurationError

TEXT = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0189/+=", min_size=1, max_size=40)


@settings(max_examples=60)
@given(
    secret=TEXT,
    token=st.none() | TEXT,
    body=st.binary(max_size=200),
    target=TEXT,
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)),
)
@pytest.mark.parametrize("name", ["dynamodb", "s3"])
def test_requests_are_signed_as_botocore_signs_them(
    name: str, secret: str, token: str | None, body: bytes, target: str, moment: datetime
) -> None:
    """Byte by byte, whatever is in them; the derived key of another day or secret is not used again."""
    credentials = Credentials("AKID", secret, token)
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": target}
    digest = hashlib.sha256(body).hexdigest()
    if name == "s3":
        headers["x-amz-content-sha256"] = digest
    oracle = AWSRequest("POST", "https://aws.example/bucket/a-name", data=body, headers=dict(headers))
    signer = (auth.S3SigV4Auth if name == "s3" else auth.SigV4Auth)(credentials, name, "eu-west-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: moment)
        signer.add_auth(oracle)
    ours = {"host": "aws.example", **headers}
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    _SIGNERS[name].sign("POST", "/bucket/a-name", ours, digest, stamp, credentials)
    assert ours["authorization"] == oracle.headers["Authorization"]
    assert ours.get("x-amz-security-token") == token


_SIGNERS = {name: aws.Signer(name, "eu-west-1") for name in ("dynamodb", "s3")}


def test_an_endpoint_is_what_the_standard_variables_say() -> None:
    """The service's own first; else the region's."""
    both = {"AWS_ENDPOINT_URL_S3": "http://a", "AWS_ENDPOINT_URL": "http://b"}
    assert aws.endpoint("s3", "eu-west-1", both) == "http://a"
    assert aws.endpoint("dynamodb", "eu-west-1", both) == "http://b"
    assert aws.endpoint("dynamodb", "eu-west-1", {}) == "https://dynamodb.eu-west-1.amazonaws.com"
    assert aws.endpoint("dynamodb", "cn-north-1", {}) == "https://dynamodb.cn-north-1.amazonaws.com.cn"


def test_without_a_region_or_credentials_a_start_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        aws.account({})
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID"):
        aws.account({"AWS_REGION": "eu-west-1"})
