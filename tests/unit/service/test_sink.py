"""Publishing to a Broker elsewhere: who we say that we are, whom we trust, and what stays for the sweeper."""

from __future__ import annotations

import logging
import shutil
import ssl
import subprocess
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from greenlight.entrypoints.settings import Settings
from greenlight.events import Event
from greenlight.lib.errors import ConfigurationError
from greenlight.service.publisher import AHEAD, DeferredPublisher
from greenlight.service.sink import Sink
from support.broker import Recorder, http_server
from support.timing import PATIENCE


class Outbox:
    """As much of a ledger as a sink needs."""

    def __init__(self) -> None:
        self.gone: list[str] = []
        self._news = threading.Condition()

    def published(self, ids: Sequence[str]) -> None:
        with self._news:
            self.gone += ids
            self._news.notify_all()

    def wait_for(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.gone) == count, 30)


def sink(url: str, outbox: Outbox, **more: Any) -> Sink:
    return Sink(url, outbox, logging.getLogger("tests"), **more)  # type: ignore[arg-type]


def test_a_token_that_a_sinkbinding_mounted_goes_along_and_is_read_for_each_event(tmp_path: Path) -> None:
    """Knative renews it; where it mounts none, none is sent."""
    broker, outbox, token = Recorder(), Outbox(), tmp_path / "token"
    with http_server(broker) as url:
        publisher = sink(f"{url}/greenlight/default", outbox, token=token)
        publisher.publish([Event("1", "/s", "t")])
        for text in ("first", "second"):
            token.write_text(f"{text}\n")
            publisher.publish([Event(text, "/s", "t")])
    said = [request.headers.get("authorization") for request in broker.requests]
    assert said == [None, "Bearer first", "Bearer second"]
    assert outbox.gone == ["1", "first", "second"]


def test_what_the_broker_refuses_or_nobody_takes_stays_in_the_outbox() -> None:
    """For the sweeper; the next ones are tried all the same."""
    outbox = Outbox()
    with http_server(Recorder(lambda n, request: (401 if n == 0 else 202, {}, b""))) as url:
        publisher = sink(f"{url}/greenlight/default", outbox)
        publisher.publish([Event("1", "/s", "t"), Event("2", "/s", "t")])
    sink("http://127.0.0.1:9/greenlight/default", outbox).publish([Event("3", "/s", "t")])
    assert outbox.gone == ["2"]


def test_who_is_asked_by_others_does_not_let_them_wait_for_the_broker() -> None:
    """Until so many events wait that he would fall behind; and what waits is sent once the Broker goes on."""
    outbox, go_on = Outbox(), threading.Event()

    def answer(n: int, request: Any) -> tuple[int, dict[str, str], bytes]:
        assert go_on.wait(PATIENCE)
        return 202, {}, b""

    with http_server(Recorder(answer)) as url:
        publisher = DeferredPublisher(sink(f"{url}/greenlight/default", outbox))
        for n in range(AHEAD):
            publisher.publish([Event(str(n), "/s", "t")])
        assert outbox.gone == []
        last = threading.Thread(target=publisher.publish, args=[[Event("last", "/s", "t")]])
        last.start()
        last.join(0.2)
        assert last.is_alive()
        go_on.set()
        last.join(30)
        outbox.wait_for(AHEAD + 1)
    assert set(outbox.gone) == {"last", *map(str, range(AHEAD))}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
def test_a_broker_with_certificates_of_its_own_is_trusted_by_what_the_sinkbinding_says(tmp_path: Path) -> None:
    """And without that it is not."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url, outbox = f"https://127.0.0.1:{server.server_port}/greenlight/default", Outbox()
        env = {"K_SINK": url, "K_CA_CERTS": certificate.read_text()}
        sink(url, outbox).publish([Event("1", "/s", "t")])
        sink(url, outbox, authorities=Settings.from_env(env).authorities).publish([Event("2", "/s", "t")])
        server.shutdown()
    assert outbox.gone == ["2"]
    with pytest.raises(ConfigurationError, match="K_CA_CERTS holds no certificates"):
        Settings.from_env({**env, "K_CA_CERTS": "none"})
