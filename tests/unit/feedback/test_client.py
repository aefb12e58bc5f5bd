"""Requests to GitHub's API."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from greenlight.feedback.github import client
from greenlight.lib.clock import SystemClock
from support.idp import Answers


@pytest.fixture
def answers() -> Iterator[Answers]:
    found = Answers()
    yield found
    found.close()


def test_answers_are_kept_as_long_as_there_is_room_the_one_used_last_longest(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked again and again stays, however many pages of lists were asked for once."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        known = request.headers["If-None-Match"] == '"e"'
        text = b"" if known else b'["%s"]' % request.path.encode().ljust(5000)
        request.send_response(304 if known else 200)
        request.send_header("ETag", '"e"')
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

    paths = ["/again", *(f"/page/{n}" for n in range(30))]
    answers.by_path.update(dict.fromkeys(paths, answer))
    monkeypatch.setattr(client, "KEPT", 10 * (5004 + client.BESIDE))
    github = client.Client(answers.url, SystemClock(), logging.getLogger("greenlight.tests"))
    for path in paths:
        for asked in ("/again", path):
            assert github.get(asked, "token").value[0].strip() == asked
    github.get("/page/29", "token")
    asked = [(path, "If-None-Match" in headers) for path, headers, _ in answers.asked]
    assert [known for path, known in asked if path == "/again"] == [False, *[True] * len(paths)]
    assert [known for path, known in asked if path == "/page/29"] == [False, True]
    assert len(github._kept) == 10
    assert github._kept_bytes <= client.KEPT
    github.get("/page/0", "token")
    assert "If-None-Match" not in answers.asked[-1][1], "it had to go"
