"""The same verdicts as Knative's own broker: every row of its contract that can be seen from outside, on both.

A case's id begins with its rows. Where the two differ, the case names the entry of differences.py, and is green only if each
broker does what is said of it there and not what is said of the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from contract.broker import cases_delivery, cases_filters, cases_ingress
from support.backends import Case, Scene, Stage, embedded, knative

CASES: list[Case] = [*cases_ingress.CASES, *cases_delivery.CASES, *cases_filters.CASES]

PARAMETERS = [pytest.param(case, id=case.id) for case in CASES]


def _scenes(request: pytest.FixtureRequest, test: str) -> list[Scene]:
    """Of the cases that this session runs."""
    cases = [
        item.callspec.params["case"] for item in request.session.items if getattr(item, "originalname", "") == test
    ]
    return list({case.scene.name: case.scene for case in cases}.values())


@pytest.fixture(scope="session")
def greenlight(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with embedded(tmp_path_factory.mktemp("parity"), _scenes(request, test_on_greenlight.__name__)) as stage:
        yield stage


@pytest.fixture(scope="session")
def theirs(request: pytest.FixtureRequest) -> Iterator[Stage]:
    cluster = request.getfixturevalue("cluster")
    with knative(cluster, _scenes(request, test_on_knatives.__name__)) as stage:
        yield stage


@pytest.mark.parametrize("case", PARAMETERS)
def test_on_greenlight(case: Case, greenlight: Stage) -> None:
    """Our broker does what the case expects, and where Knative's does something else, not that."""
    outcome = greenlight.outcome(case.scene)
    assert {key: outcome[key] for key in case.expect} == dict(case.expect)
    for key, value in case.knative.items():
        assert outcome[key] != value, f"{key} is as with Knative: no difference here"


@pytest.mark.cluster
@pytest.mark.parametrize("case", PARAMETERS)
def test_on_knatives(case: Case, theirs: Stage) -> None:
    """Knative's broker does the same, but for what the case says that it does otherwise."""
    expected = {**case.expect, **case.knative}
    outcome = theirs.outcome(case.scene)
    if outcome["status"] == 500 and expected.get("status") != 500:  # one of its own processes failed: no verdict
        outcome = theirs.play_again(case.scene)
    assert {key: outcome[key] for key in case.expect} == expected
    for key in case.knative:
        assert outcome[key] != case.expect[key], f"{key} is as with Greenlight: no difference here"


def test_every_case_has_a_name_of_its_own() -> None:
    """Which says what it is about."""
    ids = [case.id for case in CASES]
    assert sorted(ids) == sorted(set(ids))


ROWS = {"I": 15, "A": 8, "D": 9, "B": 11, "L": 10}
"""How many rows of each letter the contract has."""

ELSEWHERE = {
    "A1",  # the way through Knative's own processes
    "B11",  # congestion control: test_ingress.py, test_isolation.py
    "L2",  # a sink must resolve: test_admission.py
}


def test_every_row_of_the_contract_has_a_case() -> None:
    """But for those that cannot be seen from outside, or are seen elsewhere."""
    rows = {f"{letter}{number}" for letter, count in ROWS.items() for number in range(1, count + 1)}
    seen = {row for case in CASES for row in re.findall(r"[A-Z]\d+", case.id.partition("-")[0])}
    assert rows - seen == ELSEWHERE
