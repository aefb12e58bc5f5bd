"""Receivers of notifications on this machine: a mail server, and a webhook."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Received:
    """What came, with a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._news = threading.Condition()

    def add(self, one: Any) -> None:
        with self._news:
            self.all.append(one)
            self._news.notify_all()

    def until(self, seen: Callable[[Any], bool], timeout: float = 60) -> Any:
        with self._news:
            found = self._news.wait_for(lambda: next((it for it in self.all if seen(it)), None), timeout)
        assert found is not None, self.all
        return found


class Mail(Received):
    """A mail server: enough of SMTP (RFC 5321) for smtplib. `all` has the messages."""

    def __init__(self) -> None:
        super().__init__()
        mail = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 mail\r\n")
                while line := self.rfile.readline():
                    word = line[:4].upper()
                    if word == b"QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    self.wfile.write(b"354 go on\r\n" if word == b"DATA" else b"250 ok\r\n")
                    if word == b"DATA":
                        lines = iter(self.rfile.readline, b".\r\n")
                        mail.add(email.message_from_bytes(b"".join(lines), policy=email.policy.default))
                        self.wfile.write(b"250 ok\r\n")

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = (
            f"mailto://127.0.0.1:{self.server.server_address[1]}/?from=greenlight@acme.example&to=ops@acme.example"
        )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def text_of(message: Any) -> str:
    """Return the text of a mail."""
    body = message.get_body(("plain", "html"))
    return f"{message['subject']}\n{body.get_content()}"


class Webhook(Received):
    """A receiver of webhooks. `all` has (headers, body); it answers `status`."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 204
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.status < 300:
                    hook.add(({key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
