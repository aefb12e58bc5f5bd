"""Which events pass a Trigger: section 3 of the contract, what test_parity.py does not show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from greenlight.broker.event_attributes import attribute
from greenlight.broker.filter_reasons import why_not
from greenlight.broker.filters import compile_filters
from greenlight.broker.required_values import required_values
from greenlight.events import Event
from support.broker import event

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


@pytest.mark.parametrize("filter", [{"exact": {"count": "5", "flag": "true"}}, {"cesql": "count > 4 AND flag = true"}])
def test_an_attribute_that_is_no_text_is_compared_as_one(filter: dict[str, object]) -> None:
    """Events that did not come over HTTP keep the types of their attributes; filters see what they would on the wire."""
    assert compile_filters({"filters": [filter]})(EVENT)
    assert not compile_filters({"filters": [{"cesql": "IS_INT(flag)"}]})(EVENT)


def test_false_is_a_value_like_any_other() -> None:
    """An extension that is the boolean false is there."""
    assert compile_filters({"filters": [{"exact": {"flag": "false"}}]})(event(flag=False))


ATTRIBUTES = st.dictionaries(st.sampled_from(["type", "stage"]), st.sampled_from(["a", "b"]), max_size=2)
EXPRESSIONS = [
    "type = 'a'",
    "type IN ('a', 'c')",
    "type = 'a' OR stage = 'b'",
    "stage != 'a' AND 'b' = type",
    "nothere = 1",
]
LEAVES = st.one_of(
    st.builds(lambda name, value: {name: value}, st.sampled_from(["exact", "prefix", "suffix"]), ATTRIBUTES),
    st.sampled_from([{"cesql": text} for text in EXPRESSIONS]),
)
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
def test_a_trigger_is_asked_about_every_event_that_it_can_pass(spec: dict[str, object], type: str, stage: str) -> None:
    """The shortcut by attributes never hides an event that the filter would have passed."""
    found = event(type=type, stage=stage)
    if compile_filters(spec)(found):
        assert all(attribute(name)(found) in values for name, values in required_values(spec).items())


def test_the_shortcut_by_attributes_sees_through_all_and_any() -> None:
    """Otherwise it would be of no use for the Triggers that people write."""
    either = {"any": [{"exact": {"type": "a"}}, {"exact": {"type": "b", "stage": "x"}}]}
    assert required_values({"filters": [either, {"prefix": {"source": "/"}}]}) == {"type": {"a", "b"}}
    assert required_values({"filters": [{"all": [either, {"exact": {"type": "b"}}]}]}) == {"type": {"b"}}
    with_cesql = [either, {"cesql": "stage = 'x' AND type IN ('b', 'c')"}]
    assert required_values({"filters": with_cesql}) == {"type": {"b"}, "stage": {"x"}}
    assert required_values({"filter": {"attributes": {"type": "a", "stage": ""}}}) == {"type": {"a"}}
    assert required_values({"filters": [{"not": {"exact": {"type": "a"}}}]}) == {}


def test_what_an_expression_cannot_judge_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Per Trigger and kind of error; that an event lacks an attribute is ordinary."""
    spec = {"filters": [{"any": [{"cesql": "flag"}, {"cesql": "stage = 5"}, {"cesql": "nothere = 'x'"}]}]}
    wants = compile_filters(spec, "test/judge")
    assert not any(wants(EVENT) for _ in range(3))
    assert [record.getMessage() for record in caplog.records] == [
        "Trigger test/judge, spec.filters[0].any[0].cesql does not pass event id-1: notBoolean: the value is of type String, "
        "and only true passes an event; compare it. Further ones are only counted",
        "Trigger test/judge, spec.filters[0].any[1].cesql does not pass event id-1: cast: 'dev' is not an Integer. "
        "Further ones are only counted",
    ]
    for error, count in (("notBoolean", 3), ("cast", 3), ("missingAttribute", None)):
        labels = {"trigger": "test/judge", "error": error}
        assert REGISTRY.get_sample_value("greenlight_broker_filter_errors_total", labels) == count


def test_an_expression_that_reads_otherwise_than_it_looks_is_logged_at_load(caplog: pytest.LogCaptureFixture) -> None:
    """It is allowed, and judged as Knative judges it."""
    wants = compile_filters({"filters": [{"cesql": "stage = 'prod' AND count = 5 OR count = 5"}]}, "test/order")
    assert not wants(EVENT)
    (record,) = caplog.records
    assert record.getMessage().startswith("Trigger test/order, spec.filters[0].cesql, column 30: AND and OR are mixed")


def test_why_an_expression_does_not_pass_an_event_is_known() -> None:
    """For operators who ask what happened to an event."""
    for expression, why in (
        ("nothere = 'x'", "the event has no attribute nothere"),
        ("stage = 5", "'dev' is not an Integer"),
        ("stage = 'prod'", "it is False"),
        ("flag", "it is 'true'"),
    ):
        reason = why_not({"filters": [{"cesql": expression}]}, EVENT)
        assert reason is not None
        assert reason.startswith(f'filters[0] {{"cesql": "{expression}"}} does not pass it: {why}')
    assert why_not({"filters": [{"cesql": "flag = TRUE"}]}, EVENT) is None
