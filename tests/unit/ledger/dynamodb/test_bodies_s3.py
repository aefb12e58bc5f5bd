"""Bodies in S3, spoken to as it is: versitygw is an S3 gateway that checks every signature."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import boto3.session
import pytest

from greenlight.entrypoints.ledgers import ledger_of
from greenlight.entrypoints.settings import Settings
from greenlight.ledger.dynamodb import aws
from greenlight.ledger.dynamodb.bodies_s3 import Bucket
from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import Unavailable
from support.dynamodb import ENDPOINT, MISSING, Table, no_pause
from support.ledger import a_due, a_fact
from support.timing import PATIENCE

pytestmark = pytest.mark.skipif(
    shutil.which("versitygw") is None, reason="no versitygw in PATH: tests/cluster/cluster build s3"
)

SECRET = "a secret/of+the tests"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Its address, and the folder whose folders are its buckets: one, called bodies."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bodies").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["versitygw", "--port", f"127.0.0.1:{port}", "--access", "AKID", "--secret", SECRET]
    command = [*words, "--region", "eu-west-1", "--quiet", "posix", "--nometa", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "versitygw does not listen"
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", folder / "bodies"
        process.terminate()


def bucket(
    url: str, name: str = "bodies", *, prefix: str = "shop/x", secret: str = SECRET, region: str = "eu-west-1"
) -> Bucket:
    """As the settings would make it."""
    session = boto3.session.Session("AKID", secret, region_name=region)
    account = aws.Account(region, session, session.get_credentials())
    return Bucket(aws.Service("s3", account, url=url, pause=no_pause), name, prefix)


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_what_was_put_is_got(gateway: tuple[str, Path], size: int) -> None:
    """Byte for byte, below the prefix, as often as it is put."""
    url, folder = gateway
    body = os.urandom(size)
    name = f"body-{hashlib.sha256(body).hexdigest()}"
    bodies = bucket(url)
    assert bodies.get(name) is None
    bodies.put(name, body, 0)
    bodies.put(name, body, 1)
    assert bodies.get(name) == body
    assert (folder / "shop/x" / name).read_bytes() == body


def test_what_s3_refuses_is_said_with_what_to_do(gateway: tuple[str, Path]) -> None:
    """A wrong secret, no such bucket: not tried again; a gateway that is not there: tried and given up."""
    url, _ = gateway
    with pytest.raises(Unavailable, match="the secret is wrong"):
        bucket(url, secret="another").put("body-1", b"x", 0)
    with pytest.raises(Unavailable, match="there is no such bucket"):
        bucket(url, "nowhere").get("body-1")
    with pytest.raises(Unavailable, match="in 8 tries"):
        bucket("http://127.0.0.1:9").get("body-1")


def test_a_bucket_in_another_region_is_found_there(gateway: tuple[str, Path]) -> None:
    """boto3 asks S3 where it is: AWS_REGION is that of the table."""
    url, _ = gateway
    bucket(url, region="us-east-1").put("body-2", b"x", 0)
    assert bucket(url).get("body-2") == b"x"


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_ledger_keeps_large_bodies_and_rows_there_and_small_ones_in_its_table(
    gateway: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten body is the bucket's rule's to drop; what the table needs is told apart by its name."""
    url, folder = gateway
    table = Table()
    env = {
        "GREENLIGHT_LEDGER": f"dynamodb:{table.name}",
        "GREENLIGHT_BODIES": "s3://bodies/of-a-ledger",
        "AWS_ENDPOINT_URL_DYNAMODB": ENDPOINT,
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    ledger = ledger_of(Settings.from_env(env), SystemClock())
    large, small = os.urandom(300_000), b"small"
    digests = ["sha256:" + hashlib.sha256(body).hexdigest() for body in (large, small)]
    fact = a_fact("f1", body=digests[0], evidence=os.urandom(100_000).hex())
    assert ledger.accept(fact, large, a_due())
    assert ledger.accept(a_fact("f2", body=digests[1]), small, a_due())
    assert [ledger.body(digest) for digest in digests] == [large, small]
    assert ledger.fact("f1") == fact
    kinds = sorted(path.name.partition("-")[0] for path in (folder / "of-a-ledger").iterdir())
    assert kinds == ["body", "row"]
    table.delete()
