"""The API does as its description says, for requests of all kinds that schemathesis makes from it, wrong ones included."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from flask import Flask

schemathesis = pytest.importorskip("schemathesis", reason="no schemathesis: make .venv/api")

from hypothesis import HealthCheck, settings  # noqa: E402
from openapi_spec_validator import OpenAPIV31SpecValidator  # noqa: E402

from greenlight.board import openapi  # noqa: E402
from greenlight.board.app import discards  # noqa: E402
from greenlight.board.login.config import LoginConfig  # noqa: E402
from greenlight.broker.api import blueprint as broker_api  # noqa: E402
from greenlight.lib.clock import SystemClock  # noqa: E402
from support.api import TOKEN, filled, inlined, resolved  # noqa: E402
from support.board import board_of  # noqa: E402
from support.flow import sha_of  # noqa: E402

EXAMPLES = int(os.environ.get("API_EXAMPLES", "15"))
"""Random requests of each kind to each route, beside those that are made of the bounds in the description."""

BOUNDED = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
REFUSED = ["2xx", "401", "403", "404", "422"]
"""Statuses of requests that have the right form: a commit that is not there, an environment that is paused already."""

WRONG = ["400", "401", "403", "404", "413", "422"]
"""Statuses of requests that have a wrong form."""

PLAIN = {"Accept-Encoding": "identity"}
"""Without gzip, which the transport to a WSGI app does not undo."""


class Patient(SystemClock):
    """A clock by which a minute passes with each look: no number of wrong tokens is too many."""

    minutes = 0

    def monotonic(self) -> float:
        self.minutes += 1
        return super().monotonic() + 60 * self.minutes


BOARD: list[Flask] = []
"""The board that is asked: it starts after the tests were collected from the description."""


@pytest.fixture(scope="module", autouse=True)
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A board with something of everything; everybody reads who gets there."""
    shop = filled(tmp_path_factory.mktemp("shop"))
    it = shop.greenlight
    operators = broker_api(it.broker.operations, lambda: discards(it.pipeline()))
    BOARD[:] = [board_of(shop, Patient(), LoginConfig(), loopback=True, guests=[operators])]
    yield
    BOARD.clear()
    shop.stop()


def _described() -> dict[str, Any]:
    """The description with the names that exist in paths, and strict about the members of responses."""
    found = copy.deepcopy(openapi.document())
    there = {"owner": "acme", "name": "shop", "sha": sha_of("one"), "application": "shop", "environment": "staging"}
    for name, value in {**there, "deployment": "d1"}.items():
        found["components"]["parameters"][name]["schema"] = {"type": "string", "enum": [value]}
    for operation in (operation for item in found["paths"].values() for operation in item.values()):
        responses = {status: resolved(it) for status, it in operation["responses"].items()}
        operation["responses"] = {status: {**it, "content": _strict(it)} for status, it in responses.items()}
    return found


def _strict(response: Mapping[str, Any]) -> dict[str, Any]:
    content = response.get("content", {})
    return {kind: {"schema": inlined(it["schema"])} for kind, it in content.items()}


def _schema() -> Any:
    """What requests are made from."""
    settings = {
        "checks": {
            "positive_data_acceptance": {"expected-statuses": REFUSED},
            "negative_data_rejection": {"expected-statuses": WRONG},
        },
        "generation": {"with-security-parameters": False},
    }
    schema = schemathesis.openapi.from_dict(_described(), config=schemathesis.Config.from_dict(settings))
    schema.app = lambda environ, start: BOARD[0](environ, start)
    return schema


def test_it_is_openapi_31() -> None:
    """By the schema and the rules of the specification."""
    assert [str(it) for it in OpenAPIV31SpecValidator(openapi.document()).iter_errors()] == []


@_schema().parametrize()
@BOUNDED
def test_with_a_token(case: Any) -> None:
    """Of a person who may do everything."""
    case.call_and_validate(headers={**PLAIN, "Authorization": f"Bearer {TOKEN}"})


@_schema().parametrize()
@BOUNDED
def test_without_a_token(case: Any) -> None:
    """Reads are answered, and everything else refused."""
    response = case.call_and_validate(headers=PLAIN)
    if case.method != "GET":
        assert response.status_code == 401
