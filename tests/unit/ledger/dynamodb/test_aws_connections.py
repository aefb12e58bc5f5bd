"""Connections to AWS: kept open, trusted only by their certificate, and renewed where they turn out to be closed."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from greenlight.ledger.dynamodb.aws_connections import Connections


class Server(ThreadingHTTPServer):
    """Answers with what was posted, and counts."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        self.connections = self.requests = 0
        self.rude = False  # closes every connection after its answer, without a word
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that does not trust it


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests += 1
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.server.rude

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """It, with TLS if there is a context."""
    with Server() as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_connection_is_used_again() -> None:
    """By whoever needs one next; each thread has one for itself meanwhile."""
    with serving() as server:
        connections = Connections(f"http://127.0.0.1:{server.server_port}", most=4)
        for n in range(10):
            assert connections.send("POST", "/", {"host": "x"}, b"%d" % n).body == b"%d" % n
        assert (server.connections, server.requests) == (1, 10)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda n: connections.send("POST", "/", {"host": "x"}, b"%d" % n).body, range(200)))
        assert found == [b"%d" % n for n in range(200)]


def test_what_was_closed_while_nobody_used_it_is_opened_anew() -> None:
    """At once, without anybody noticing."""
    with serving() as server:
        server.rude = True
        connections = Connections(f"http://127.0.0.1:{server.server_port}", most=4)
        for n in range(5):
            assert connections.send("POST", "/", {"host": "x"}, b"%d" % n).body == b"%d" % n
        assert server.requests == 5


def test_who_cannot_be_reached_is_an_error() -> None:
    """Not an answer; and an address must be one."""
    with pytest.raises(OSError, match="refused"):
        Connections("http://127.0.0.1:9", most=1).send("POST", "/", {"host": "x"}, b"")
    with pytest.raises(ValueError, match="no http"):
        Connections("dynamodb", most=1)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl, to make a certificate with")
def test_a_server_is_trusted_by_its_certificate_only(tmp_path: Path) -> None:
    """That of the file which is named, for the name that was asked for; else nothing is sent."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=aws", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*words, *name, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as server:
        port = server.server_port
        trusting = Connections(f"https://127.0.0.1:{port}", most=2, ca_certs=str(certificate))
        for _ in range(2):
            assert trusting.send("POST", "/", {"host": "x"}, b"secret").body == b"secret"
        assert server.requests == 2
        for url, trusted in ((f"https://127.0.0.1:{port}", None), (f"https://localhost:{port}", str(certificate))):
            with pytest.raises(ssl.SSLCertVerificationError):
                Connections(url, most=2, ca_certs=trusted).send("POST", "/", {"host": "x"}, b"secret")
        assert server.requests == 2
