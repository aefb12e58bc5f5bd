"""What the command line makes of an answer that is not Greenlight's, and of an output that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from click.testing import CliRunner, Result

from greenlight.cli.main import main
from greenlight.service.server import serve
from support.flow import REPO, Shop, sha_of

PROBLEM = b'{"status": 404, "detail": "what another API says"}'
ANSWERS: dict[str, tuple[str, str, bytes]] = {
    "page": ("200 OK", "text/html", b"<html>welcome"),
    "another": ("200 OK", "application/json", b'{"hello": 1}'),
    "list": ("200 OK", "application/json", b"[1]"),
    "nothing": ("200 OK", "application/json", b""),
    "refusal": ("404 Not Found", "application/json", PROBLEM),
    "gateway": ("502 Bad Gateway", "text/html", b"<h1>bad gateway"),
    "login": ("302 Found", "text/html", b""),
}
COMMANDS = {
    "status": ["status"],
    "why": ["why", REPO, "a" * 40],
    "targets": ["targets"],
    "pause": ["pause", "shop", "staging", "--reason", "x"],
    "send": ["send", "gate", "scan", "passed", REPO, "a" * 40],
}


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def another() -> Iterator[str]:
    """Return the address of another program, which answers below each path as ANSWERS has it."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = ANSWERS[environ["PATH_INFO"].split("/")[1]]
        more = [("Location", "https://login.example/")] if status.startswith("3") else []
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *more])
        return [body]

    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _run(tmp_path: Path, words: list[str], url: str) -> Result:
    (tmp_path / "gate-scan").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    env = {"GREENLIGHT_URL": url, "GREENLIGHT_WEBHOOKS_URL": url, "GREENLIGHT_SECRETS": str(tmp_path)}
    return CliRunner().invoke(main, words, env=env)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_another_programs_answer_is_no_answer(tmp_path: Path, another: str, command: str, answer: str) -> None:
    """Exit 3, never 1, which a script would take for a no; the address is named, and what to set."""
    result = _run(tmp_path, COMMANDS[command], f"{another}/{answer}")
    assert result.exit_code == 3, (result.output, result.exception)
    assert f"{another}/{answer} answered " in result.stderr
    assert ("--webhooks-url" if command == "send" else "Set GREENLIGHT_URL") in result.stderr
    assert ("https://login.example/" in result.stderr) is (answer == "login" and command != "send")


def test_another_port_or_path_of_greenlight_is_no_answer(tmp_path: Path) -> None:
    """Exit 3: nobody said no to anything."""
    shop = Shop(tmp_path)
    apps = shop.greenlight.apps
    servers = [serve(apps[name], "127.0.0.1:0", name=name) for name in ("board", "webhooks")]
    for server in servers:
        server.start()
    board, webhooks = ("http://{}:{}".format(*server.address) for server in servers)
    for url in (webhooks, f"{board}/greenlight", f"{board}/api/v1"):
        result = _run(tmp_path, ["status"], url)
        assert (result.exit_code, f"the API is not at {url}" in result.stderr) == (3, True), result.output
    assert _run(tmp_path, ["status"], f"{board}//").exit_code == 0
    assert _run(tmp_path, ["why", REPO, sha_of("unknown")], board).exit_code == 1
    for server in servers:
        server.stop(5)
    shop.stop()


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://127.0.0.1:http", "http://[::1", "http://a b"])
def test_an_address_that_cannot_be_one_is_misuse(tmp_path: Path, url: str) -> None:
    """Exit 2, before anything is asked."""
    result = _run(tmp_path, ["status"], url)
    assert (result.exit_code, "it must be http(s)://HOST:PORT" in result.stderr) == (2, True), result.output


def test_an_output_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A full disk is exit 3 with the reason, and a standard output that the caller closed is nothing to fail for."""

    def run(redirection: str) -> tuple[int, str]:
        command = f'"{sys.executable}" -m greenlight.cli.main policy check --config "{tmp_path}/config" {redirection}'
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env={**os.environ}, check=False)
        return done.returncode, done.stderr

    Shop(tmp_path).stop()
    assert run(">/dev/full") == (3, "Error: the output cannot be written: No space left on device\n")
    assert run(">&-") == (0, "")
