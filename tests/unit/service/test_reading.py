"""What is read at once for an event: what its handlers ask for, and nothing that an event cannot name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from greenlight.events import Event, types
from greenlight.events.build import as_fact
from greenlight.ledger.port import Reading
from greenlight.model.policy import Pipeline
from greenlight.service.reading import reading_of
from support.policy import GOOD, REPO, parse
from support.vocabulary import CONCLUDED

SHA = "a" * 40
COMMIT, STAGING, PRODUCTION = f"commit/{REPO}/{SHA}", ("shop", "staging"), ("shop", "production")


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """An application with two environments."""
    return parse({"pipeline.yaml": GOOD}, Path())


def event(type: str, **data: Any) -> Event:
    """One with this data."""
    return Event.of(type, id="e1", source="tests", time=datetime(2026, 1, 1, tzinfo=UTC), data=data)


def test_a_fact_is_read_with_its_record(pipeline: Pipeline) -> None:
    """And where the journal of the commit ends, and that it is due."""
    found = reading_of(as_fact(event("com.github.push", repo=REPO, sha=SHA, ref="refs/heads/main")), pipeline)
    assert found == Reading(facts=["e1"], records=[(REPO, SHA)], streams=[COMMIT], due=["fact/e1"])


def test_a_recorded_commit_is_read_with_every_target_of_its_repository(pipeline: Pipeline) -> None:
    """And its decision there."""
    found = reading_of(event(types.COMMIT_RECORDED, repo=REPO, sha=SHA, fact="f1", due="again"), pipeline)
    assert (found.facts, found.records, found.targets) == (["f1"], [(REPO, SHA)], [STAGING, PRODUCTION])
    assert found.decisions == [(*STAGING, REPO, SHA), (*PRODUCTION, REPO, SHA)]
    assert found.in_force == [REPO]
    assert found.streams == [COMMIT, "target/shop/staging", "target/shop/production"]
    assert found.due == [f"record/{REPO}/{SHA}", "again"]


@pytest.mark.parametrize("type", [types.PROMOTION_READY, types.DEPLOYMENT_APPLIED, types.DEPLOYMENT_PROGRESSING])
def test_a_deployment_under_way_is_read_with_its_own_target(pipeline: Pipeline, type: str) -> None:
    """No other target is looked at."""
    named = {"application": "shop", "environment": "staging"}
    found = reading_of(event(type, repo=REPO, sha=SHA, promotion="d1", **named), pipeline)
    assert (found.deployments, found.targets, found.decisions) == (["d1"], [STAGING], ())
    assert (found.streams, found.due) == ([COMMIT, "target/shop/staging"], ["deployment/d1"])


@pytest.mark.parametrize("data", [b"[]", b'"x"', b"{}", b'{"repo": ["x"], "sha": 1}', b"\xff", b"[" * 100_000, None])
def test_an_event_that_tells_nothing_names_nothing(pipeline: Pipeline, data: bytes | None) -> None:
    """Whatever its type; of a fact, its id."""
    for type in CONCLUDED:
        found = reading_of(Event("poison", "stranger", type, data=data), pipeline)
        assert not any([found.facts, found.records, found.targets, found.deployments, found.streams, found.due])
    assert reading_of(as_fact(Event("poison", "stranger", "any.type", data=data)), pipeline).facts == ["poison"]
