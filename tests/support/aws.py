"""AWS on the loopback: EKS's DescribeCluster and STS's AssumeRole, as their HTTP APIs are documented; and no other AWS."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from greenlight.deployer.clusters import eks

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>arn:aws:sts::222222222222:assumed-role/deploy/x</Arn><AssumedRoleId>A:x</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>ASIAROLE{n}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken>session-{n}</SessionToken><Expiration>{end}</Expiration></Credentials></AssumeRoleResult>
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleResponse>"""


@dataclass
class Aws:
    """The requests to AWS, and its answers."""

    clusters: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # name: `cluster` of the answer
    refusal: tuple[int, str] | None = None  # status and code for every question to EKS
    role_lasts: timedelta = timedelta(hours=1)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)  # path and headers, of EKS
    assumed: list[dict[str, str]] = field(default_factory=list)  # parameters of each AssumeRole

    def describes(self, name: str, server: str, authority: bytes) -> None:
        """Add a cluster."""
        data = base64.b64encode(authority).decode()
        self.clusters[name] = {
            "name": name,
            "status": "ACTIVE",
            "endpoint": server,
            "certificateAuthority": {"data": data},
        }

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, dict[str, str]]:
        if path == "/":
            self.assumed.append({name: values[0] for name, values in parse_qs(body.decode()).items()})
            end = (datetime.now(UTC) + self.role_lasts).strftime("%Y-%m-%dT%H:%M:%SZ")
            return 200, ASSUMED.format(n=len(self.assumed), secret=SECRET, end=end), {"Content-Type": "text/xml"}
        self.asked.append((path, headers))
        name = path.removeprefix("/clusters/")
        status, code = self.refusal or (404, "ResourceNotFoundException")
        if self.refusal is None and name in self.clusters:
            return 200, json.dumps({"cluster": self.clusters[name]}), {}
        return status, json.dumps({"message": f"No cluster found for name: {name}."}), {"x-amzn-ErrorType": code}


@contextmanager
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """Lead AWS's variables to this server, with a key of its own and nothing of this machine's."""
    found = Aws()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text, headers = found.answer(self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with monkeypatch.context() as env, server:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_REGION"):
            env.delenv(name, raising=False)
        mine = {"CONFIG_FILE": "/dev/null", "SHARED_CREDENTIALS_FILE": "/dev/null", "EC2_METADATA_DISABLED": "true"}
        key = {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET}
        for name, value in {**mine, **key, "ENDPOINT_URL_EKS": url, "ENDPOINT_URL_STS": url}.items():
            env.setenv(f"AWS_{name}", value)
        eks._session.cache_clear()
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()
            eks._session.cache_clear()
