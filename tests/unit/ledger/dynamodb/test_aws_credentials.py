"""Credentials of a pod: the same as botocore finds, renewed in time, never shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from botocore.session import Session

from greenlight.ledger.dynamodb import aws
from greenlight.lib.errors import ConfigurationError, Misconfigured, Unavailable
from support.timing import PATIENCE

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROLE = "arn:aws:iam::123456789012:role/greenlight"


class Moves:
    """A clock that a test moves."""

    def __init__(self, time: datetime = NOW) -> None:
        self.time = time

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


class Giver:
    """STS and a node's agent in one: a new key for each time that it is asked with the right token."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.until = NOW + timedelta(hours=1)
        self.token = "the pod's token"
        self.hold = threading.Event()
        self.hold.set()
        self.url = ""

    def answer(self, method: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        self.asked += 1
        self.hold.wait(PATIENCE)
        form = {key: value[0] for key, value in parse_qs(body.decode()).items()}
        token = form.get("WebIdentityToken") or headers.get("authorization")
        if self.status != 200:
            return self.status, "<Error><Code>Busy</Code></Error>"
        if token != self.token or (method == "POST" and form["RoleArn"] != ROLE):
            return 400, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>"
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken" if method == "POST" else "Token", "Expiration")
        values = (f"AKID{self.asked}", "secret/+=", "token/+=", self.until.strftime("%Y-%m-%dT%H:%M:%SZ"))
        pairs = list(zip(names, values, strict=True))
        if method == "GET":
            return 200, "{" + ", ".join(f'"{name}": "{value}"' for name, value in pairs) + "}"
        found = "".join(f"<{name}>{value}</{name}>" for name, value in pairs)
        return 200, (
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<AssumeRoleWithWebIdentityResult><Credentials>{found}</Credentials>"
            "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )


@contextmanager
def serving() -> Iterator[Giver]:
    """It, on this machine."""
    giver = Giver()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): text for name, text in self.headers.items()}
            status, text = giver.answer(self.command, headers, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = _any

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        giver.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield giver
        finally:
            giver.hold.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def giver() -> Iterator[Giver]:
    with serving() as found:
        yield found


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names nobody."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def pod(kind: str, giver: Giver, folder: Path) -> dict[str, str]:
    """What EKS puts into a pod's environment."""
    (folder / "token").write_text(f"{giver.token}\n")
    if kind == "IRSA":
        return {
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ROLE_ARN": ROLE,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "token"),
            "AWS_ENDPOINT_URL_STS": giver.url,
        }
    return {
        "AWS_REGION": "eu-west-1",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": giver.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(folder / "token"),
    }


@pytest.mark.parametrize("kind", ["IRSA", "Pod Identity"])
@pytest.mark.usefixtures("bare")
def test_a_pod_is_who_botocore_says_it_is(
    kind: str, giver: Giver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same environment, by the same server."""
    giver.until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    env = pod(kind, giver, tmp_path)
    ours = aws.account(env, Moves(datetime.now(UTC))).credentials()
    (tmp_path / "token").write_text(giver.token)  # a projected token has no line's end, and botocore wants none
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = Session().get_credentials()
    assert found is not None
    theirs = found.get_frozen_credentials()
    assert (ours.access_key, ours.secret_key, ours.token) == ("AKID1", theirs.secret_key, theirs.token)
    assert theirs.access_key == "AKID2"
    assert "secret" not in repr(ours)


@pytest.mark.parametrize("kind", ["IRSA", "Pod Identity"])
@pytest.mark.usefixtures("bare")
def test_credentials_are_kept_until_shortly_before_they_expire(kind: str, giver: Giver, tmp_path: Path) -> None:
    """With the token that is on the disk then; where no new ones are to be had, the old ones as long as they are valid."""
    clock = Moves()
    account = aws.account(pod(kind, giver, tmp_path), clock)
    assert giver.asked == 0
    assert [account.credentials().access_key for _ in range(3)] == ["AKID1"] * 3
    clock.time = NOW + timedelta(minutes=49)
    assert account.credentials().access_key == "AKID1"
    giver.token, giver.until = "another", NOW + timedelta(hours=2)
    clock.time = NOW + timedelta(minutes=51)
    assert [account.credentials().access_key for _ in range(3)] == ["AKID1"] * 3  # refused once, and still valid
    assert giver.asked == 2
    (tmp_path / "token").write_text("another")
    clock.time = NOW + timedelta(minutes=53)
    assert account.credentials().access_key == "AKID3"
    account.renew()  # AWS refused them
    assert account.credentials().access_key == "AKID4"
    giver.status = 503
    clock.time = NOW + timedelta(hours=3)
    with pytest.raises(Unavailable, match="503 Busy"):
        account.credentials()
    giver.status, giver.token = 200, "a third"
    with pytest.raises(Misconfigured, match="InvalidIdentityToken"):
        account.credentials()


@pytest.mark.usefixtures("bare")
def test_one_thread_renews_while_the_others_go_on(giver: Giver, tmp_path: Path) -> None:
    """And of many that have none yet, one asks."""
    clock = Moves()
    account = aws.account(pod("IRSA", giver, tmp_path), clock)
    with ThreadPoolExecutor(8) as pool:
        assert {it.access_key for it in pool.map(lambda _: account.credentials(), range(8))} == {"AKID1"}
        giver.hold.clear()
        clock.time = NOW + timedelta(minutes=55)
        renewing = pool.submit(account.credentials)
        while giver.asked < 2:
            threading.Event().wait(0.005)
        assert account.credentials().access_key == "AKID1"
        giver.hold.set()
        assert renewing.result(10).access_key == "AKID2"


@pytest.mark.usefixtures("bare")
def test_a_token_goes_to_nobody_but_the_agent(tmp_path: Path) -> None:
    """Another host without TLS stops the start; a token that is not there is said to be missing."""
    env = {"AWS_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/"}
    with pytest.raises(ConfigurationError, match="must be https"):
        aws.account(env)
    env = {
        "AWS_REGION": "eu-west-1",
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "nowhere"),
    }
    with pytest.raises(Misconfigured, match="cannot be read"):
        aws.account(env).credentials()
