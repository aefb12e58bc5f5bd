"""Every route of the board: which are public, and what each role gets from the others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import Client

from greenlight.board.app import discards
from greenlight.board.login.config import LoginConfig
from greenlight.board.login.guard import PUBLIC
from greenlight.broker.api import blueprint as broker_api
from greenlight.lib.clock import SystemClock
from support.board import PUBLIC as ADDRESS
from support.board import board_of
from support.flow import PIPELINE, REPO, TOKENS, Shop, people_yaml, sha_of

OPEN = {
    "GET /healthz",
    "GET /readyz",
    "GET /static/<path:filename>",
    "GET /login",
    "POST /login/token",
    "GET /login/<name>",
    "GET /login/<name>/callback",
    "POST /logout",
}
"""The public routes. Whoever adds one here says why it gives a stranger nothing that a person may want to keep."""

READS = (401, 200, 200, 200)
ANY_PERSON = (401, 202, 202, 202)
APPROVERS = (401, 403, 202, 403)
OPERATORS = (401, 403, 403, 202)
REASON = {"reason": "x"}
TOMORROW = datetime.now(UTC) + timedelta(days=1)

COMMIT, TARGET = "/api/v1/commits/<owner>/<name>/<sha>", "/api/v1/targets/<application>/<environment>"
ON_COMMIT = "/commits/<owner>/<name>/<sha>/<any(approve, refuse, override):verb>"
ON_TARGET = "/targets/<application>/<environment>/<any(deploy, retry, rollback, pause, resume, cancel, withdraw):verb>"
ON_FREEZE = "/targets/<application>/<environment>/<any(freeze, unfreeze):verb>"
ON_DEAD_LETTER = "/activity/dead-letters/<int:id>/<any(replay, discard):verb>"


class Form(dict[str, str]):
    """A body that a form sends."""


ROUTES: dict[str, tuple[tuple[int, int, int, int], Any]] = {
    "GET /": (READS, None),
    "GET /commits/<owner>/<name>/<sha>": (READS, None),
    "GET /commits/<owner>/<name>/<sha>/trace": (READS, None),
    "GET /api": (READS, None),
    "GET /approvals": (READS, None),
    "GET /commits": (READS, None),
    "GET /deployments/<id>": (READS, None),
    "GET /me": (READS, None),
    "GET /setup": (READS, None),
    "GET /activity": (READS, None),
    "GET /activity/dead-letters/<int:id>": ((401, 404, 404, 404), None),
    f"GET {ON_DEAD_LETTER}": ((401, 404, 404, 404), None),
    f"POST {ON_DEAD_LETTER}": ((401, 404, 404, 404), Form(reason="x")),
    "GET /targets/<application>/<environment>": (READS, None),
    f"GET {ON_COMMIT}": (READS, None),  # the form says who may not
    f"POST {ON_COMMIT}": ((401, 403, 303, 403), Form(application="shop", gate="legal", reason="x")),
    f"GET {ON_TARGET}": (READS, None),
    f"POST {ON_TARGET}": ((401, 403, 403, 303), Form(reason="x")),
    f"GET {ON_FREEZE}": (READS, None),
    f"POST {ON_FREEZE}": ((401, 403, 403, 303), Form(reason="x", until=f"{TOMORROW:%Y-%m-%dT%H:%M}", zone="UTC")),
    "GET /metrics": (READS, None),
    "GET /api/v1/commits": (READS, None),
    f"GET {COMMIT}": (READS, None),
    f"GET {COMMIT}/journal": (READS, None),
    f"GET {COMMIT}/trace": (READS, None),
    "GET /api/v1/senders": (READS, None),
    "GET /api/v1/targets": (READS, None),
    "GET /api/v1/unreadable": (READS, None),
    f"GET {TARGET}": (READS, None),
    f"GET {TARGET}/journal": (READS, None),
    f"GET {TARGET}/deployments": (READS, None),
    f"GET {TARGET}/diff": (READS, None),
    "GET /api/v1/deployments/<id>": (READS, None),
    "GET /api/v1/deployments/<id>/log": (READS, None),
    "GET /api/v1/people/me": (READS, None),
    "GET /api/v1/openapi.json": (READS, None),
    "GET /api/v1/triggers": (READS, None),
    "GET /api/v1/notifications": (READS, None),
    "GET /api/v1/notifications/tests/<id>": (READS, None),
    "POST /api/v1/notifications/tests": (OPERATORS, {}),
    "GET /api/v1/events": ((401, 400, 400, 400), None),  # it asks for an id
    "GET /api/v1/dead-letters": (READS, None),
    "GET /api/v1/dead-letters/<int:id>": ((401, 404, 404, 404), None),
    f"POST {COMMIT}/approvals": (APPROVERS, {"application": "shop", "gate": "legal"}),
    f"POST {COMMIT}/revocations": ((401, 403, 202, 202), {"application": "shop", "gate": "build", "comment": "x"}),
    f"POST {COMMIT}/overrides": (
        (401, 403, 403, 202),
        {"application": "shop", "environment": "staging", "gate": "build", "reason": "x"},
    ),
    "POST /api/v1/people/erasures": (OPERATORS, {"github": ["nobody-at-all"]}),
    "POST /api/v1/policy/preview": ((401, 200, 200, 200), {"files": {"pipeline.yaml": "PIPELINE"}}),
    f"POST {TARGET}/deployments": (OPERATORS, {"kind": "deploy", "sha": sha_of("one"), "reason": "x"}),
    f"POST {TARGET}/cancel": ((401, 403, 403, 422), {"what": "deployment", "reason": "x"}),  # nothing runs
    f"POST {TARGET}/pause": (OPERATORS, REASON),
    f"POST {TARGET}/resume": (OPERATORS, {}),
    f"POST {TARGET}/freeze": (OPERATORS, {"reason": "x", "for": "2h"}),
    f"POST {TARGET}/unfreeze": ((401, 403, 403, 422), {"freeze": "none"}),
    "POST /api/v1/dead-letters/<int:id>/replay": ((401, 404, 404, 404), {}),
    "POST /api/v1/dead-letters/<int:id>/discard": ((401, 404, 404, 404), REASON),
    "POST /api/v1/dead-letters/replay": (ANY_PERSON, {"where": {}}),
    "POST /api/v1/dead-letters/discard": (ANY_PERSON, {"where": {}, "reason": "x"}),  # of none: each asks who may
}
"""What each role gets: nobody known, a person without groups, an approver, an operator; and the body that is sent."""

ROLES = ("stranger", "guest", "lena", "omar")
VALUES = {
    "<owner>": "acme", "<name>": "shop", "<sha>": sha_of("one"), "<application>": "shop", "<environment>": "staging",
    "<int:id>": "7", "<any(replay, discard):verb>": "discard",
    "<any(approve, refuse, override):verb>": "approve?application=shop&gate=legal",
    "<any(deploy, retry, rollback, pause, resume, cancel, withdraw):verb>": "pause",
    "<any(freeze, unfreeze):verb>": "freeze",
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A commit in staging; lena approves, omar operates, guest is in no group, stranger has no account."""
    folder: Path = tmp_path_factory.mktemp("shop")
    shop = Shop(folder, pipeline=PIPELINE.replace("operators: [legal, engineering]", "operators: [release]"))
    digest = hashlib.sha256(b"gl_guest_token_of_the_tests").hexdigest()
    people = people_yaml().replace("github: omar-gh, groups: [legal]", "github: omar-gh, groups: [release]")
    (folder / "config" / "people.yaml").write_text(f"{people}  guest: {{tokens: ['sha256:{digest}']}}\n")
    shop.start()
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    yield shop
    shop.stop()


@pytest.fixture(scope="module")
def app(shop: Shop) -> Flask:
    """The whole board with the broker's routes, where nobody reads without an account."""
    it = shop.greenlight
    operators = broker_api(it.broker.operations, lambda: discards(it.pipeline()))
    return board_of(shop, SystemClock(), LoginConfig(url=ADDRESS), loopback=False, guests=[operators])


def _routes(app: Flask, *endpoints: str) -> set[str]:
    """The routes, of these endpoints alone if there are any."""
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if not endpoints or rule.endpoint in endpoints
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_the_public_routes_are_these_and_no_others(app: Flask) -> None:
    """By the endpoints that the guard lets everybody ask."""
    assert _routes(app, *PUBLIC) == OPEN
    for route in sorted(OPEN):
        method, _, path = route.partition(" ")
        answer = Client(app).open(
            path.replace("<path:filename>", "board.css").replace("<name>", "none"),
            method=method,
            base_url=ADDRESS,
            headers={"Origin": ADDRESS},
        )
        assert (answer.status_code, route) in {
            *((200, it) for it in OPEN if "<name>" not in it), (303, "POST /logout"), (404, "POST /login/token"),
            *((404, it) for it in OPEN if "<name>" in it),
        }  # fmt: skip
        answer.close()


def test_every_route_is_in_the_matrix(app: Flask) -> None:
    """A new one without a row fails here: add it to ROUTES with what each role gets, or to OPEN."""
    assert _routes(app) == OPEN | ROUTES.keys()


@pytest.mark.parametrize("route", ROUTES)
def test_each_role_gets_what_it_may(app: Flask, shop: Shop, route: str) -> None:
    """A stranger gets 401 from all of them, and where a cookie is wrong, too."""
    method, _, path = route.partition(" ")
    *_, deployment = shop.greenlight.ledger.deployments("shop", "staging")
    for name, value in {**VALUES, "<id>": deployment.id}.items():
        path = path.replace(name, value)
    statuses, body = ROUTES[route]
    if body and "files" in body:
        body = {"files": {"pipeline.yaml": shop.pipeline}}
    got = []
    for role in ROLES:
        token = TOKENS.get(role, f"gl_{role}_token_of_the_tests")
        headers = (
            {"Authorization": f"Bearer {token}"} if role != "stranger" else {"Cookie": f"__Host-greenlight={'A' * 43}"}
        )
        sent = {"data": body} if isinstance(body, Form) else {"json": body}
        answer = Client(app).open(path, method=method, base_url=ADDRESS, headers=headers, **sent)
        got.append(answer.status_code)
        answer.close()
    assert tuple(got) == statuses, dict(zip(ROLES, got, strict=True))
    if method == "GET":
        assert Client(app).head(path, base_url=ADDRESS).status_code == 401


def test_a_stranger_learns_nothing_of_which_routes_exist(app: Flask) -> None:
    """What is not there, or takes another method, is 401 as well."""
    for method, path in (("GET", "/nothing"), ("DELETE", "/"), ("GET", f"/api/v1/commits/{REPO}/x"), ("OPTIONS", "/")):
        assert Client(app).open(path, method=method, base_url=ADDRESS).status_code == 401
