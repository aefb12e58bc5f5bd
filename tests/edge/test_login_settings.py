"""The settings of login: all that is wrong is named at once, and doctor looks whether a provider can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from greenlight.board.login.config import GitHubConfig, LoginConfig, OidcConfig, ProxyConfig
from greenlight.entrypoints.doctor import machine
from greenlight.entrypoints.doctor.findings import OK, UNKNOWN, WRONG, checked
from greenlight.entrypoints.login_secrets import login_secret
from greenlight.entrypoints.login_settings import login_config
from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import ConfigurationError
from greenlight.service.secrets import Secrets
from support.idp import Answers

OIDC = {"GREENLIGHT_OIDC_ISSUER": "https://login.acme.example/", "GREENLIGHT_OIDC_CLIENT": "greenlight"}
PROXY = {
    "GREENLIGHT_PROXY_HEADER": "Cf-Access-Jwt-Assertion",
    "GREENLIGHT_PROXY_ISSUER": "https://acme.cloudflareaccess.com",
    "GREENLIGHT_PROXY_AUDIENCE": "0123",
    "GREENLIGHT_PROXY_KEYS": "https://acme.cloudflareaccess.com/cdn-cgi/access/certs",
}


def read(env: dict[str, str]) -> tuple[LoginConfig, list[str]]:
    problems: list[str] = []
    return login_config(env, problems, one_machine=False), problems


@pytest.mark.parametrize(
    ("env", "change"),
    [
        ({}, {}),
        ({"GREENLIGHT_BOARD_URL": "https://Greenlight.acme.example/"}, {"url": "https://greenlight.acme.example"}),
        ({"GREENLIGHT_BOARD_URL": "http://127.0.0.1:8080"}, {"url": "http://127.0.0.1:8080"}),
        (
            OIDC,
            {"oidc": OidcConfig("https://login.acme.example/", "greenlight", title="login.acme.example")},
        ),
        ({"GREENLIGHT_GITHUB_CLIENT": "Iv1"}, {"github": GitHubConfig("Iv1")}),
        (
            {**PROXY, "GREENLIGHT_PROXY_GROUPS": "groups"},
            {"proxy": ProxyConfig(*PROXY.values(), groups="groups")},
        ),
    ],
    ids=str,
)
def test_settings_are_read(env: dict[str, str], change: dict[str, Any]) -> None:
    """Each has a default."""
    assert read(env) == (replace(LoginConfig(), **change), [])


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"GREENLIGHT_BOARD_URL": "http://greenlight.acme.example"}, "https://HOST"),
        ({"GREENLIGHT_BOARD_URL": "https://greenlight.acme.example/board"}, "https://HOST"),
        ({"GREENLIGHT_ANONYMOUS_READS": "all"}, "loopback, everybody or nobody"),
        ({"GREENLIGHT_SESSION_IDLE": "0s"}, "GREENLIGHT_SESSION_IDLE"),
        ({"GREENLIGHT_SESSION_LIFETIME": "1y"}, "GREENLIGHT_SESSION_LIFETIME"),
        ({"GREENLIGHT_OIDC_ISSUER": "https://x.example"}, "go together"),
        ({**OIDC, "GREENLIGHT_OIDC_ISSUER": "http://x.example"}, "https address"),
        ({**OIDC, "GREENLIGHT_OIDC_ISSUER": "https://u:p@x.example"}, "https address"),
        ({**OIDC, "GREENLIGHT_OIDC_SCOPES": "email"}, "`openid` must be"),
        ({"GREENLIGHT_GITHUB_CLIENT": "x", "GREENLIGHT_GITHUB_URL": "ftp://x"}, "https address"),
        ({"GREENLIGHT_PROXY_HEADER": "X-Jwt"}, "not set: GREENLIGHT_PROXY_ISSUER, GREENLIGHT_PROXY_AUDIENCE"),
        ({**PROXY, "GREENLIGHT_PROXY_HEADER": "Authorization"}, "the proxy alone sets"),
        ({**PROXY, "GREENLIGHT_PROXY_KEYS": "http://x.example/keys"}, "https address"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(env: dict[str, str], said: str) -> None:
    """With what would be right."""
    _, (problem,) = read(env)
    assert said in problem


def test_everything_wrong_is_named_at_once() -> None:
    """A line each."""
    _, problems = read({"GREENLIGHT_BOARD_URL": "x", "GREENLIGHT_ANONYMOUS_READS": "x", "GREENLIGHT_PROXY_HEADER": "x"})
    assert len(problems) == 3


def test_githubs_secret_has_to_be_there_and_is_read_again(tmp_path: Path) -> None:
    """GitHub takes no login without one."""
    config = LoginConfig(github=GitHubConfig("x"))
    with pytest.raises(ConfigurationError, match="no file login-github"):
        login_secret(config, Secrets(tmp_path, []))
    (tmp_path / "login-github").write_text("old\n")
    assert login_secret(config, Secrets(tmp_path, []))("github") == "old"
    assert login_secret(LoginConfig(oidc=OidcConfig("https://x.example", "x")), Secrets(tmp_path, []))("oidc") is None


@pytest.fixture
def answers() -> Iterator[Answers]:
    found = Answers()
    yield found
    found.close()


def test_doctor_asks_the_provider(answers: Answers, tmp_path: Path) -> None:
    """It says what is wrong with its settings, and what could not be found out."""
    env = {
        "GREENLIGHT_OIDC_ISSUER": answers.url,
        "GREENLIGHT_OIDC_CLIENT": "x",
        "GREENLIGHT_BOARD_URL": "https://b.example",
    }

    def found(**more: str) -> list[tuple[str, str]]:
        it = checked("login", lambda: machine.login({**env, **more}, tmp_path, SystemClock()))
        return [(finding.state, finding.said) for finding in it]

    answers.be_a_provider(dict)
    assert found() == [(OK, "127.0.0.1 can be asked")]
    assert [state for state, _ in found(GREENLIGHT_BOARD_URL="")] == [OK, WRONG]
    answers.by_path["/.well-known/openid-configuration"]["issuer"] = "https://other.example"
    ((state, text),) = found()
    assert (state, "https://other.example" in text) == (WRONG, True)
    assert found(GREENLIGHT_OIDC_CLIENT="")[0][0] == WRONG
    ((state, _),) = found(GREENLIGHT_OIDC_ISSUER="http://127.0.0.1:9")
    assert state == UNKNOWN
    assert list(machine.login({}, tmp_path, SystemClock())) == []
