"""Our reading of the pipeline file's schema is held to that of a general validator."""

from __future__ import annotations

from typing import Any

import jsonschema
import yaml
from hypothesis import given
from hypothesis import strategies as st

from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.policy.schema import schema
from greenlight.policy.shape import faults, filled
from support.policy import GOOD

SCHEMA = schema(DRIVERS)
VALUE = yaml.safe_load(
    GOOD.replace(
        "after: [staging]",
        "after: [staging, {staging: 2h}]\n        freeze: [{from: fri 18:00, to: mon 08:00, zone: UTC, reason: r}]",
    )
)

MUTATIONS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 200), st.floats(0, 3), st.text("ab/*$ -_.:1dD", max_size=8),
    st.just([]), st.just({}), st.lists(st.text("ab*", max_size=3), max_size=3), st.just(["tests", "tests"]),
    st.dictionaries(st.sampled_from(["webhook", "event", "where", "approval", "A", "run"]), st.text("ab", max_size=2)),
)  # fmt: skip


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in _paths(item, (*path, key)))]


def _changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _changed(copy[path[0]], path[1:], new)
    return copy


@given(data=st.data())
def test_our_reading_of_the_schema_is_that_of_a_general_validator(data: st.DataObject) -> None:
    """Any part of a good file replaced, or given a field it does not know: the same verdict from both."""
    path = data.draw(st.sampled_from(_paths(VALUE)))
    new = data.draw(MUTATIONS)
    value = _changed(VALUE, path, new)
    found = list(faults(value, SCHEMA, SCHEMA))
    assert (not found) == jsonschema.Draft202012Validator(SCHEMA).is_valid(value), found
    if not found:
        whole = filled(value, SCHEMA, SCHEMA)
        assert not list(faults(whole, SCHEMA, SCHEMA))
        assert filled(whole, SCHEMA, SCHEMA) == whole


def test_the_schema_uses_no_keyword_that_our_reader_does_not_know() -> None:
    """A keyword that were ignored would check nothing."""
    annotations = {"$schema", "$id", "$ref", "$defs", "title", "description", "default", "errorMessage", "kindOf"}
    objects = {"required", "properties", "additionalProperties", "propertyNames", "minProperties", "maxProperties"}
    known = annotations | objects | {
        "type", "const", "pattern", "minLength", "minItems", "uniqueItems", "items", "minimum", "maximum",
        "oneOf", "not", "dependentRequired", "dependentSchemas",
    }  # fmt: skip

    def keywords(at: Any) -> set[str]:
        named = [at.get(field, {}) for field in ("properties", "$defs", "dependentSchemas")]
        inner = [item for names in named for item in names.values()]
        inner += [
            at[field] for field in ("items", "additionalProperties", "propertyNames") if isinstance(at.get(field), dict)
        ]
        return set(at) | {word for item in inner for word in keywords(item)}

    assert keywords(SCHEMA) <= known


def test_the_schema_is_a_schema() -> None:
    """Of the draft that it names."""
    jsonschema.Draft202012Validator.check_schema(dict(SCHEMA))
