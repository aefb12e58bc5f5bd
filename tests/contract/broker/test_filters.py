"""Which events pass a Trigger: section 3 of the contract, from Knative's own filter tables as far as built."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.broker.filters import compile_filters, only_types
from greenlight.events import Event
from support_broker import event

EVENT = Event(
    "id-1",
    "https://github.com/acme/shop",
    "com.github.push",
    subject="abc",
    time="2026-01-01T00:00:00Z",
    datacontenttype="application/json; charset=utf-8",
    extensions={"stage": "dev", "count": 5, "flag": True},
    data=b'{"secret": "stage"}',
)

CASES = [
    ("no filter", {}, True),
    ("empty filter", {"filter": {}}, True),
    ("empty attributes", {"filter": {"attributes": {}}}, True),
    ("legacy", {"filter": {"attributes": {"type": "com.github.push"}}}, True),
    ("legacy, case matters", {"filter": {"attributes": {"type": "com.github.Push"}}}, False),
    ("legacy, AND", {"filter": {"attributes": {"type": "com.github.push", "stage": "prod"}}}, False),
    ("legacy, missing", {"filter": {"attributes": {"nothere": "x"}}}, False),
    ("legacy, any value", {"filter": {"attributes": {"stage": ""}}}, True),
    ("legacy, any value, missing", {"filter": {"attributes": {"nothere": ""}}}, False),
    ("empty filters keep filter", {"filters": [], "filter": {"attributes": {"stage": "prod"}}}, False),
    (
        "filters override filter",
        {"filters": [{"exact": {"stage": "dev"}}], "filter": {"attributes": {"id": "x"}}},
        True,
    ),
    ("items are ANDed", {"filters": [{"exact": {"stage": "dev"}}, {"exact": {"id": "x"}}]}, False),
    ("empty item", {"filters": [{}]}, True),
    ("exact", {"filters": [{"exact": {"stage": "dev", "id": "id-1"}}]}, True),
    ("exact, one key fails", {"filters": [{"exact": {"stage": "dev", "id": "id-2"}}]}, False),
    ("exact, missing", {"filters": [{"exact": {"nothere": "x"}}]}, False),
    ("exact, integer", {"filters": [{"exact": {"count": "5"}}]}, True),
    ("exact, boolean", {"filters": [{"exact": {"flag": "true"}}]}, True),
    ("exact, specversion", {"filters": [{"exact": {"specversion": "1.0"}}]}, True),
    ("exact, time", {"filters": [{"exact": {"time": "2026-01-01T00:00:00Z"}}]}, True),
    ("exact, media type", {"filters": [{"exact": {"datamediatype": "application/json"}}]}, True),
    ("exact, dataschema missing", {"filters": [{"prefix": {"dataschema": "h"}}]}, False),
    ("data is never looked at", {"filters": [{"exact": {"secret": "stage"}}]}, False),
    ("prefix", {"filters": [{"prefix": {"source": "https://github.com/", "type": "com."}}]}, True),
    ("prefix, fails", {"filters": [{"prefix": {"source": "https://gitlab.com/"}}]}, False),
    ("suffix", {"filters": [{"suffix": {"source": "/shop", "type": ".push"}}]}, True),
    ("suffix, fails", {"filters": [{"suffix": {"type": ".pull"}}]}, False),
    ("all", {"filters": [{"all": [{"exact": {"stage": "dev"}}, {"prefix": {"type": "com."}}]}]}, True),
    ("all, one fails", {"filters": [{"all": [{"exact": {"stage": "dev"}}, {"prefix": {"type": "org."}}]}]}, False),
    ("any", {"filters": [{"any": [{"exact": {"stage": "prod"}}, {"exact": {"stage": "dev"}}]}]}, True),
    ("any, none", {"filters": [{"any": [{"exact": {"stage": "prod"}}, {"exact": {"stage": "qa"}}]}]}, False),
    ("not", {"filters": [{"not": {"exact": {"stage": "dev"}}}]}, False),
    ("not, missing attribute", {"filters": [{"not": {"exact": {"nothere": "x"}}}]}, True),
    (
        "nested",
        {"filters": [{"not": {"all": [{"any": [{"suffix": {"id": "-2"}}]}, {"exact": {"stage": "dev"}}]}}]},
        True,
    ),
]


@pytest.mark.parametrize(("spec", "passes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_filter_passes_what_knative_passes(spec: dict[str, object], passes: bool) -> None:
    """The verdict on one event."""
    assert compile_filters(spec)(EVENT) is passes


def test_false_is_a_value_like_any_other() -> None:
    """An extension that is the boolean false is there."""
    assert compile_filters({"filters": [{"exact": {"flag": "false"}}]})(event(flag=False))


ATTRIBUTES = st.dictionaries(st.sampled_from(["type", "stage"]), st.sampled_from(["a", "b"]), max_size=2)
LEAVES = st.builds(lambda name, value: {name: value}, st.sampled_from(["exact", "prefix", "suffix"]), ATTRIBUTES)
ITEMS = st.recursive(
    st.one_of(st.just({}), LEAVES),
    lambda inner: st.one_of(
        st.builds(lambda name, items: {name: items}, st.sampled_from(["all", "any"]), st.lists(inner, max_size=3)),
        inner.filter(bool).map(lambda item: {"not": item}),
    ),
    max_leaves=6,
)
SPECS = st.fixed_dictionaries(
    {}, optional={"filters": st.lists(ITEMS, max_size=3), "filter": st.builds(lambda a: {"attributes": a}, ATTRIBUTES)}
)


@given(SPECS, st.sampled_from(["a", "b"]), st.sampled_from(["a", "b"]))
def test_a_trigger_is_asked_about_every_type_that_it_can_pass(spec: dict[str, object], type: str, stage: str) -> None:
    """The shortcut by type never hides an event that the filter would have passed."""
    types = only_types(spec)
    if compile_filters(spec)(event(type=type, stage=stage)):
        assert types is None or type in types


def test_the_shortcut_by_type_sees_through_all_and_any() -> None:
    """Otherwise it would be of no use for the Triggers that people write."""
    either = {"any": [{"exact": {"type": "a"}}, {"exact": {"type": "b", "stage": "x"}}]}
    assert only_types({"filters": [either, {"prefix": {"source": "/"}}]}) == {"a", "b"}
    assert only_types({"filters": [{"all": [either, {"exact": {"type": "b"}}]}]}) == {"b"}
    assert only_types({"filter": {"attributes": {"type": "a"}}}) == {"a"}
    assert only_types({"filters": [{"not": {"exact": {"type": "a"}}}]}) is None
