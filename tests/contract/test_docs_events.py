"""docs/events.md says what the vocabulary and the wiring table say; schemas fit the events."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from greenlight.broker.manifests import load_texts
from greenlight.events import types
from greenlight.events.schemas import dataschema, schema
from greenlight.flow import FLOW
from support.flow import Shop, sha_of
from support.vocabulary import CONCLUDED, NOT_FACTS, OUR_FACTS

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
OURS = [*CONCLUDED, *OUR_FACTS]


def _table() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `([a-z.*-]+)` \| .* \| (.*?) \| (.*?) ?\|$", PAGE, re.MULTILINE)
    return {type: (by, handled) for type, by, handled in rows}


def test_every_type_of_ours_has_a_row() -> None:
    """And no row is of a type that nobody speaks."""
    known = {"com.github.*", "com.circleci.*", types.PING, *OURS}
    assert set(_table()) == known


def test_rows_name_the_services_that_the_wiring_table_names() -> None:
    """Who handles, and who emits."""
    for type, (by, handled) in _table().items():
        wired = {edge.service for edge in FLOW if type in edge.on}
        if type not in NOT_FACTS:
            wired = {"recorder"}
        assert handled == ", ".join(sorted(wired)), type
        emitters = {edge.service for edge in FLOW if type in edge.emits}
        if type == types.DEPLOYMENT_REQUESTED:
            emitters.add("board")  # which starts events, and so is no edge's
        assert not emitters or by == ", ".join(sorted(emitters)), type


def test_the_example_trigger_is_one_that_the_broker_takes() -> None:
    """As it stands on the page."""
    example = "\n".join(line[4:] for line in PAGE.split("Listening")[1].splitlines() if line.startswith("    "))
    broker = (
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default, namespace: greenlight}\n---\n"
    )
    assert [trigger.name for trigger in load_texts({"example.yaml": broker + example}).triggers] == ["chat"]


@pytest.mark.parametrize("type", OURS)
def test_every_type_of_ours_has_a_schema_that_allows_what_comes_later(type: str) -> None:
    """Named by dataschema; unknown members are allowed."""
    document = schema(type)
    assert document["$id"] == dataschema(type)
    assert document.get("additionalProperties", True) is True


def test_events_of_a_run_are_as_the_page_says(tmp_path: Path) -> None:
    """They fit their schemas, and those of facts have the attribute that says so, and no others."""
    import jsonschema

    shop = Shop(tmp_path).start()
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    shop.scan("one")
    shop.approve("one")
    shop.watch.end("production", sha_of("one"))
    again = {"kind": "deploy", "sha": sha_of("one"), "reason": "once more"}
    shop.act("/targets/shop/staging/deployments", again)
    shop.settle()
    checked = set()
    for event in shop.watch.events:
        assert event.extensions.get("fact") == (None if event.type in NOT_FACTS else "true"), event.type
        if dataschema(event.type) is not None:
            assert event.dataschema == dataschema(event.type)
            jsonschema.validate(json.loads(event.data or b"null"), schema(event.type))
            checked.add(event.type)
    shop.stop()
    assert {
        "commit.recorded",
        "promotion.ready",
        "deployment.applied",
        "deployment.succeeded",
        "gate.passed",
        "approval.granted",
        "deployment.requested",
    } <= checked
