"""AWS by boto3, as it is set up here: who we are, where it is, how long anything may take, and what is sent again."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import boto3.session
import pytest
from botocore.utils import ContainerMetadataFetcher

from greenlight.ledger.dynamodb import aws
from greenlight.ledger.dynamodb.bodies_s3 import Bucket
from greenlight.lib.errors import ConfigurationError, Misconfigured, Unavailable
from support.dynamodb import no_pause
from support.timing import PATIENCE

ROLE = "arn:aws:iam::123456789012:role/greenlight"


class Server(ThreadingHTTPServer):
    """Answers what `answer` says, and counts."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        self.connections = self.requests = 0
        self.rude = False  # closes every connection after its answer, without a word
        self.hold = threading.Event()  # answers once this is set
        self.hold.set()
        self.cut: deque[int] = deque()  # bytes of the next answers that come; then the connection is closed
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, method: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """As DynamoDB and S3 might."""
        return 200, b'{"TableNames": []}'

    def handle_error(self, request: object, client_address: object) -> None:
        """A client has given up, or does not trust it."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.requests += 1
        self.server.hold.wait(PATIENCE)
        headers = {name.lower(): text for name, text in self.headers.items()}
        status, said = self.server.answer(self.command, headers, body)
        self.send_response(status)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        cut = self.server.cut.popleft() if self.server.cut else None
        self.wfile.write(said[:cut])
        self.close_connection = self.server.rude or cut is not None

    do_GET = do_POST = _any

    def log_message(self, *args: object) -> None:
        pass


class Giver(Server):
    """STS and a node's agent in one: a new key for each time that it is asked with the right token."""

    def __init__(self) -> None:
        self.status = 200
        self.lasts = timedelta(hours=1)
        self.token = "the pod's token"
        super().__init__()

    def answer(self, method: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        form = {key: value[0] for key, value in parse_qs(body.decode()).items()}
        token = form.get("WebIdentityToken") or headers.get("authorization")
        if self.status != 200:
            return self.status, b"<ErrorResponse><Error><Code>Busy</Code></Error></ErrorResponse>"
        if token != self.token or (method == "POST" and form["RoleArn"] != ROLE):
            return 400, b"<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>"
        until = datetime.now(UTC) + self.lasts
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken" if method == "POST" else "Token", "Expiration")
        values = (f"AKID{self.requests}", "secret/+=", "token/+=", until.strftime("%Y-%m-%dT%H:%M:%SZ"))
        pairs = list(zip(names, values, strict=True))
        if method == "GET":
            return 200, ("{" + ", ".join(f'"{name}": "{value}"' for name, value in pairs) + "}").encode()
        found = "".join(f"<{name}>{value}</{name}>" for name, value in pairs)
        return 200, (
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<AssumeRoleWithWebIdentityResult><Credentials>{found}</Credentials>"
            "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        ).encode()


@contextmanager
def serving(server: Server, context: ssl.SSLContext | None = None) -> Iterator[None]:
    """It, with TLS if there is a context."""
    with server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.hold.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def giver() -> Iterator[Giver]:
    found = Giver()
    with serving(found):
        yield found


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    with serving(found):
        yield found


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names nobody and nowhere."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("ENDPOINT_URL", "ENDPOINT_URL_DYNAMODB", "ENDPOINT_URL_S3", "ENDPOINT_URL_STS", "CA_BUNDLE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0.01)
    return monkeypatch


def in_a_pod(kind: str, giver: Giver, folder: Path, env: pytest.MonkeyPatch) -> None:
    """What EKS puts into a pod's environment."""
    (folder / "token").write_text(giver.token)
    env.setenv("AWS_REGION", "eu-west-1")
    if kind == "IRSA":
        env.setenv("AWS_ROLE_ARN", ROLE)
        env.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(folder / "token"))
        env.setenv("AWS_ENDPOINT_URL_STS", giver.url)
    else:
        env.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{giver.url}/")
        env.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(folder / "token"))


def somebody(region: str = "eu-west-1") -> aws.Account:
    """An account with a key of its own."""
    session = boto3.session.Session("AKID", "a secret", region_name=region)
    return aws.Account(region, session, session.get_credentials())


def listed(account: aws.Account, url: str) -> object:
    """Some request, and its answer."""
    service = aws.Service("dynamodb", account, url=url, pause=no_pause)
    return service.call("ListTables", {}, lambda problem: problem)


@pytest.mark.parametrize("kind", ["IRSA", "Pod Identity"])
def test_a_pods_credentials_are_kept_and_renewed_before_they_end(
    kind: str, giver: Giver, server: Server, tmp_path: Path, bare: pytest.MonkeyPatch
) -> None:
    """With the token that is on the disk then. A refusal says what to look at, and the request is not made."""
    in_a_pod(kind, giver, tmp_path, bare)
    account = aws.account()
    assert [account.credentials.get_frozen_credentials().access_key for _ in range(3)] == ["AKID1"] * 3
    listed(account, server.url)
    assert (giver.requests, server.requests) == (1, 1)
    giver.lasts, giver.token = timedelta(minutes=5), "another"
    (tmp_path / "token").write_text("another")
    account = aws.account()
    listed(account, server.url)
    asked = giver.requests
    listed(account, server.url)
    assert giver.requests > asked, "five minutes are not enough to begin with"
    (tmp_path / "token").write_text("a third")
    with pytest.raises(Unavailable, match="InvalidIdentityToken"):
        listed(account, server.url)
    (tmp_path / "token").unlink()
    with pytest.raises(Misconfigured, match="token cannot be read"):
        listed(account, server.url)
    assert server.requests == 3


def test_an_sts_that_does_not_answer_is_given_up(giver: Giver, tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    """After three tries of seconds, not of botocore's minute; that it is busy is no refusal."""
    bare.setattr(aws, "READ", 0.1)
    in_a_pod("IRSA", giver, tmp_path, bare)
    giver.hold.clear()
    with pytest.raises(Unavailable, match="Read timeout") as raised:
        listed(aws.account(), "http://127.0.0.1:9")
    assert (giver.requests, isinstance(raised.value, Misconfigured)) == (3, False)
    giver.hold.set()
    giver.status = 503
    with pytest.raises(Unavailable, match="STS gives no credentials: Busy") as raised:
        listed(aws.account(), "http://127.0.0.1:9")
    assert not isinstance(raised.value, Misconfigured)


def test_a_role_that_does_not_trust_the_pod_is_for_a_person_to_mend(
    giver: Giver, tmp_path: Path, bare: pytest.MonkeyPatch
) -> None:
    """Said once, with where to look."""
    in_a_pod("IRSA", giver, tmp_path, bare)
    giver.token = "of another cluster"
    with pytest.raises(Misconfigured, match=r"InvalidIdentityToken.*look at the role's trust"):
        listed(aws.account(), "http://127.0.0.1:9")
    assert giver.requests == 1


def test_an_agent_that_is_not_there_is_unavailable_and_a_strange_one_is_a_mistake(
    giver: Giver, tmp_path: Path, bare: pytest.MonkeyPatch
) -> None:
    """A token goes to nobody but the node's agent, unless by TLS."""
    in_a_pod("Pod Identity", giver, tmp_path, bare)
    giver.status = 503
    with pytest.raises(Unavailable, match="503"):
        aws.account()
    bare.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.example/")
    with pytest.raises(ConfigurationError, match=r"evil\.example"):
        aws.account()


def test_without_a_region_or_credentials_a_start_says_what_to_set(bare: pytest.MonkeyPatch) -> None:
    """By name; a profile that is not there, too."""
    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        aws.account()
    bare.setenv("AWS_REGION", "eu-west-1")
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID"):
        aws.account()
    bare.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="nobody"):
        aws.account()


def test_a_region_and_a_key_are_those_of_the_environment_or_of_a_profile(
    tmp_path: Path, bare: pytest.MonkeyPatch
) -> None:
    """AWS_REGION first, which other SDKs know; then AWS_DEFAULT_REGION, then the profile's."""
    (tmp_path / "config").write_text(
        "[profile ops]\nregion = eu-central-1\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = x\n"
    )
    bare.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    bare.setenv("AWS_PROFILE", "ops")
    found = aws.account()
    assert (found.region, found.credentials.get_frozen_credentials().access_key) == ("eu-central-1", "AKIDPROFILE")
    bare.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert aws.account().region == "eu-west-3"
    bare.setenv("AWS_REGION", "eu-west-1")
    assert aws.account().region == "eu-west-1"


def test_an_endpoint_is_what_the_standard_variables_say(bare: pytest.MonkeyPatch) -> None:
    """The service's own first; else the region's."""
    assert aws.Service("dynamodb", somebody()).url == "https://dynamodb.eu-west-1.amazonaws.com"
    assert aws.Service("s3", somebody()).url == "https://s3.eu-west-1.amazonaws.com"
    assert aws.Service("dynamodb", somebody("cn-north-1")).url == "https://dynamodb.cn-north-1.amazonaws.com.cn"
    bare.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    bare.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:2")
    assert aws.Service("s3", somebody()).url == "http://127.0.0.1:1"
    assert aws.Service("dynamodb", somebody()).url == "http://127.0.0.1:2"


@pytest.mark.usefixtures("bare")
def test_a_connection_is_used_again_and_one_that_was_closed_is_opened_anew(server: Server) -> None:
    """Each thread has one for itself meanwhile; nobody notices."""
    service = aws.Service("dynamodb", somebody(), url=server.url, pause=no_pause)

    def ask(_: int = 0) -> None:
        assert service.call("ListTables", {}, lambda problem: problem)["TableNames"] == []

    for _ in range(10):
        ask()
    assert (server.connections, server.requests) == (1, 10)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(100)))
    assert server.connections <= 8
    server.rude = True
    for _ in range(5):
        ask()
    assert server.requests == 115


@pytest.mark.usefixtures("bare")
def test_what_does_not_answer_is_asked_eight_times(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of an answer may take so long and no longer; then it is Unavailable, with what was the matter."""
    monkeypatch.setattr(aws, "READ", 0.05)
    server.hold.clear()
    with pytest.raises(
        Unavailable, match=rf"dynamodb at {server.url} did not do it in 8 tries; the last: Read timeout"
    ):
        listed(somebody(), server.url)
    with pytest.raises(Unavailable, match="in 8 tries; the last: Could not connect"):
        listed(somebody(), "http://127.0.0.1:9")


@pytest.mark.usefixtures("bare")
def test_after_six_seconds_no_further_try_begins() -> None:
    """Whoever waits for us has an answer in ten."""

    class Slow:
        """Each look at it is two seconds later."""

        time = 0.0

        def monotonic(self) -> float:
            self.time += 2
            return self.time

        def now(self) -> datetime:
            raise AssertionError

    service = aws.Service("dynamodb", somebody(), url="http://127.0.0.1:9", clock=Slow(), pause=no_pause)
    with pytest.raises(Unavailable, match="in 4 tries"):
        service.call("ListTables", {}, lambda problem: problem)


@pytest.mark.usefixtures("bare")
def test_an_object_that_comes_in_part_is_asked_for_again(server: Server) -> None:
    """The body of an answer of S3 is read as it comes: that is a part of the request."""
    server.cut.extend([5, 3])
    assert Bucket(aws.Service("s3", somebody(), url=server.url, pause=no_pause), "b").get("x") == b'{"TableNames": []}'
    assert server.requests == 3


@pytest.mark.usefixtures("bare")
def test_what_boto3_itself_refuses_is_for_a_person_to_mend() -> None:
    """Nothing is sent: trying again would not help."""
    bucket = Bucket(aws.Service("s3", somebody(), url="http://127.0.0.1:9", pause=no_pause), "no bucket's name")
    with pytest.raises(Misconfigured, match="Invalid bucket name"):
        bucket.get("x")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl, to make a certificate with")
def test_a_server_is_trusted_by_its_certificate_only(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    """That of the file which is named, for the name that was asked for; else nothing is sent."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=aws", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*words, *name, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server()
    with serving(server, context):
        with pytest.raises(Unavailable, match="SSL validation failed"):
            listed(somebody(), f"https://127.0.0.1:{server.server_port}")
        bare.setenv("AWS_CA_BUNDLE", str(certificate))
        with pytest.raises(Unavailable, match="SSL validation failed"):
            listed(somebody(), f"https://localhost:{server.server_port}")
        assert server.requests == 0
        listed(somebody(), f"https://127.0.0.1:{server.server_port}")
    assert server.requests == 1
