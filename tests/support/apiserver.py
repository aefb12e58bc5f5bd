"""An API server on the loopback, as far as transport goes: TLS, tokens, client certificates, and a test's own answers."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

EXTENSIONS = """[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
[server]
subjectAltName = IP:127.0.0.1, DNS:kubernetes
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Sign certificates. Its own has no key identifiers, as those of EKS and older clusters."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "extensions").write_text(EXTENSIONS)
        self.certificate = folder / "ca.pem"
        more = ["-x509", "-days", "2", "-extensions", "ca", "-out", str(self.certificate)]
        self._request("ca", more)

    def issue(self, name: str, *, server: bool = False) -> Pair:
        """Return a certificate for `name`; a server's is for 127.0.0.1 and `kubernetes`."""
        request, out = self._folder / f"{name}.csr", self._folder / f"{name}.pem"
        self._request(name, ["-out", str(request)])
        extensions = ["-extfile", str(self._folder / "extensions"), "-extensions", "server"] if server else []
        pair = ["-CA", str(self.certificate), "-CAkey", str(self._folder / "ca.key"), "-CAcreateserial"]
        _openssl("x509", "-req", "-in", str(request), *pair, "-days", "2", *extensions, "-out", str(out))
        return Pair(out, self._folder / f"{name}.key")

    def _request(self, name: str, more: list[str]) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        config = ["-config", str(self._folder / "extensions"), "-subj", f"/CN={name}"]
        _openssl("req", *key, *config, "-keyout", str(self._folder / f"{name}.key"), *more)


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@dataclass(frozen=True)
class Seen:
    """One request as it arrived, with the name in the client's certificate."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client: str | None
    fields: list[tuple[str, str]] = field(default_factory=list)  # the headers, repeated ones too


@dataclass
class ApiServer:
    """A server's accepted credentials, its answers, and the requests that it saw."""

    url: str
    certificate: Path
    tokens: set[str] | None = None  # None: anything
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)  # by path without query
    seen: list[Seen] = field(default_factory=list)

    def answer(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        """Answer requests for `path`; `body` is sent as JSON, or as it is if it is bytes."""
        self.answers[path] = (status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())

    def found(self, request: Seen) -> tuple[int, dict[str, str], bytes]:
        self.seen.append(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens is not None and token not in self.tokens:
            return 401, {}, json.dumps({"kind": "Status", "reason": "Unauthorized", "message": "Unauthorized"}).encode()
        return self.answers.get(request.path.partition("?")[0], (200, {}, b"{}"))


@contextmanager
def api_server(authority: Authority, pair: Pair) -> Iterator[ApiServer]:
    """Serve by `pair`; clients may present a certificate of `authority`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            subject = dict(it[0] for it in (self.connection.getpeercert() or {}).get("subject", ()))  # type: ignore[attr-defined]
            fields = self.headers.items()
            seen = Seen(self.command, self.path, dict(fields), body, subject.get("commonName"), fields)
            status, headers, answer = found.found(seen)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    class Server(ThreadingHTTPServer):
        def finish_request(self, request: Any, address: Any) -> None:
            try:
                with context.wrap_socket(request, server_side=True) as secured:
                    super().finish_request(secured, address)
            except OSError:
                pass  # a client that does not trust it, or went away

        def shutdown_request(self, request: Any) -> None:
            request.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    with Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = ApiServer(f"https://127.0.0.1:{server.server_address[1]}", pair.certificate)
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()
