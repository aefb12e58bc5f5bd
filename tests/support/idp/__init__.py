"""Providers of logins: the real oidc-provider of npm as a process, and one that answers whatever a test wants."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import html
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from joserfc import jwk, jwt
from werkzeug.test import Client, TestResponse

MODULE = os.environ.get("GREENLIGHT_OIDC_PROVIDER", "")
MISSING = (
    ""
    if MODULE and shutil.which("node")
    else "needs node, npm install oidc-provider, and its folder in GREENLIGHT_OIDC_PROVIDER"
)
SECRET = "a-secret-of-the-tests"

Accounts = Mapping[str, Mapping[str, Any]]


@contextmanager
def real_provider(board: str, accounts: Accounts) -> Iterator[str]:
    """Run the provider for a board at that address; give its issuer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("provider.mjs")
    command = ["node", str(script), MODULE, str(port), board, json.dumps(accounts)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


class Traveller:
    """A browser that goes between the board, which is asked without a network, and a provider over HTTP."""

    def __init__(self, board: Client, address: str) -> None:
        self.board, self.address = board, address
        self.outside = requests.Session()
        self.outside.trust_env = False

    def to_provider(self, way: str, then: str = "/") -> str:
        """Begin a login at the board; return the provider's address."""
        answer = self.board.get(f"/login/{way}", query_string={"next": then})
        assert answer.status_code == 303, answer.get_data(as_text=True)
        return answer.headers["Location"]

    def at_provider(self, url: str, account: str) -> str:
        """Log in at the real provider, and agree; return where it sends the browser back to."""
        answer = self.outside.get(url, allow_redirects=False)
        for _ in range(20):
            if answer.is_redirect:
                url = urljoin(url, answer.headers["Location"])
                if url.startswith(self.address):
                    return url
                answer = self.outside.get(url, allow_redirects=False)
                continue
            form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            assert form is not None, answer.text
            fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', answer.text))
            if 'name="login"' in answer.text:
                fields |= {"login": account, "password": "any"}
            url = urljoin(url, html.unescape(form[1]))
            answer = self.outside.post(url, data=fields, allow_redirects=False)
        raise AssertionError(f"the provider does not come back: {url}")

    def back(self, url: str, **options: Any) -> TestResponse:
        """Come back to the board, from the provider's page."""
        parts = urlsplit(url)
        return self.board.get(f"{parts.path}?{parts.query}", headers={"Sec-Fetch-Site": "cross-site"}, **options)

    def log_in(self, account: str, then: str = "/") -> TestResponse:
        """Do all of it."""
        return self.back(self.at_provider(self.to_provider("oidc", then), account))


@functools.cache
def a_key(id: str) -> Any:
    """Return a provider's key; made once, because that is slow."""
    return jwk.RSAKey.generate_key(2048, {"kid": id, "use": "sig", "alg": "RS256"}, private=True)


class Answers:
    """A server on loopback that answers as a test says: by path, a JSON document or a function of the request's form."""

    def __init__(self) -> None:
        self.by_path: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.key = a_key("1")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.path, dict(self.headers), body))
                found = outer.by_path.get(urlsplit(self.path).path)
                if callable(found):
                    found(self)
                    return
                text = json.dumps(found if found is not None else {}).encode()
                self.send_response(200 if found is not None else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=lambda: self.server.serve_forever(0.01), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    @property
    def keys(self) -> dict[str, Any]:
        """The JWKS."""
        return {"keys": [self.key.as_dict(private=False)]}

    def sign(self, claims: Mapping[str, Any], key: Any = None, **header: Any) -> str:
        """Return a token with these claims."""
        return jwt.encode({"alg": "RS256", "kid": "1", **header}, dict(claims), key or self.key, algorithms=["RS256"])

    def by_hmac(self, body: str) -> str:
        """Return a token whose signature has the published key as its secret (CVE-2016-10555)."""
        signed = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ." + body
        digest = hmac.digest(self.key.as_pem(private=False), signed.encode(), hashlib.sha256)
        return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"

    def be_a_provider(self, token: Callable[[], Any], **metadata: Any) -> None:
        """Answer as an OpenID Connect provider whose token endpoint answers with what `token` returns."""
        self.by_path["/.well-known/openid-configuration"] = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            **metadata,
        }
        self.by_path["/keys"] = self.keys

        def answer(request: BaseHTTPRequestHandler) -> None:
            found = token()
            text = json.dumps(found).encode()
            request.send_response(200 if "error" not in found else 400)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(text)))
            request.end_headers()
            request.wfile.write(text)

        self.by_path["/token"] = answer
