"""Login in a whole process: `greenlight up`, its server, and a real provider beside it."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from unittest import mock
from urllib.parse import urljoin

import pytest
import requests

from support.flow import DEPLOY, PIPELINE, TOKENS, people_yaml
from support.idp import MISSING, SECRET, real_provider
from support.process import Up

ACCOUNTS = {"1": {"name": "Lena", "email": "lena@acme.example", "email_verified": True}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Configuration and the client secret."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "config" / "people.yaml").write_text(
        people_yaml().replace("lena-gh", "lena-gh, emails: [lena@acme.example]")
    )
    (tmp_path / "config" / "deploy.sh").write_text(DEPLOY)
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "login-oidc").write_text(f"{SECRET}\n")
    return tmp_path


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_session_survives_a_restart_and_ends_by_the_logout(folder: Path) -> None:
    """The login by the provider and the one by a token, over HTTP; the cookie is good for the next process, too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    board = f"http://127.0.0.1:{port}"
    listen = ("--listen", f"127.0.0.1:{port}")
    with real_provider(board, ACCOUNTS) as issuer, requests.Session() as browser:
        browser.trust_env = False
        browser.headers["Accept"] = "text/html"
        env = {
            "GREENLIGHT_OIDC_ISSUER": issuer,
            "GREENLIGHT_OIDC_CLIENT": "greenlight",
            "GREENLIGHT_ANONYMOUS_READS": "nobody",
        }
        with mock.patch.dict("os.environ", env):
            up = Up(folder, *listen)
            try:
                page = browser.get(f"{board}/commits?q=x")
                assert page.url == f"{board}/login?next=/commits%3Fq%3Dx"
                at_provider = _link(page)
                arrived = _log_in(browser, urljoin(board, at_provider))
                assert arrived.url == f"{board}/commits?q=x"
                assert _me(browser, board) == "lena"
                up.stop()
                up = Up(folder, *listen)
                assert _me(browser, board) == "lena"
                form = browser.get(f"{board}/login").text
                token = re.search(r'name="csrf" value="([0-9a-f]+)"', form)
                assert token is not None
                origin = {"Origin": board}
                assert browser.post(f"{board}/logout", headers=origin).status_code == 403
                assert _me(browser, board) == "lena"
                assert browser.post(f"{board}/logout", data={"csrf": token[1]}, headers=origin).url == f"{board}/login"
                assert _me(browser, board) is None
                typed = {"token": TOKENS["omar"], "next": "/approvals"}
                assert browser.post(f"{board}/login/token", data=typed, headers=origin).url == f"{board}/approvals"
                assert _me(browser, board) == "omar"
            finally:
                up.stop()
    log = (folder / "up.log").read_text()
    assert "lena logged in by oidc" in log
    assert not any(secret in log for secret in (SECRET, TOKENS["omar"], *browser.cookies.values()))


def _link(page: requests.Response) -> str:
    found = re.search(r'href="(/login/oidc[^"]*)"', page.text)
    assert found is not None, page.text
    return found[1].replace("&amp;", "&")


def _log_in(browser: requests.Session, url: str) -> requests.Response:
    """Fill in the provider's forms until it sends the browser back."""
    answer = browser.get(url)
    for _ in range(3):
        form = re.search(r'<form[^>]*action="([^"]+/interaction/[^"]+|/interaction/[^"]+)"', answer.text)
        if form is None:
            break
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', answer.text))
        if 'name="login"' in answer.text:
            fields |= {"login": "1", "password": "any"}
        answer = browser.post(urljoin(answer.url, form[1]), data=fields)
    return answer


def _me(browser: requests.Session, board: str) -> str | None:
    answer = browser.get(f"{board}/api/v1/people/me")
    return answer.json()["id"] if answer.status_code == 200 else None
