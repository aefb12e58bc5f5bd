"""What docs/broker-filters.md shows is what is read and what passes."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import pytest

from greenlight.broker.cesql.functions import FUNCTIONS, MAX_TEXT
from greenlight.broker.cesql.syntax import MAX_DEPTH
from greenlight.broker.cesql.tokens import MAX_LENGTH
from greenlight.broker.filters import _DIALECTS, FilterError, compile_filters
from greenlight.broker.manifests import load_texts
from greenlight.events import Event
from greenlight.events.http import MAX_VALUE
from greenlight.lib.errors import ConfigurationError
from support.broker import BROKER, event, trigger

DOCS = (Path(__file__).parents[3] / "docs" / "broker-filters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE)
EXAMPLES = re.findall(r"^\| `(.+)` \| (.*?) ?\| (yes|no) \|$", DOCS, re.MULTILINE)


def with_attributes(text: str) -> Event:
    """An event with the attributes of a row: `NAME=VALUE` `NAME=VALUE`."""
    found = dict(re.findall(r"`(\w+)=([^`]*)`", text))
    context = {name: found.pop(name) for name in ("type", "source") if name in found}
    made = event(**found)
    return Event(
        made.id, context.get("source", made.source), context.get("type", made.type), extensions=made.extensions
    )


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_is_read(block: str) -> None:
    """As part of a Trigger."""
    text = trigger("one", "http://x/") + indent(block, "  ")
    assert load_texts({"b.yaml": BROKER, "t.yaml": text}).triggers


@pytest.mark.parametrize(("expression", "attributes", "passes"), EXAMPLES)
def test_every_expression_passes_what_the_page_says(expression: str, attributes: str, passes: str) -> None:
    """Verdicts of the table."""
    assert compile_filters({"filters": [{"cesql": expression}]})(with_attributes(attributes)) is (passes == "yes")


def test_the_page_names_every_dialect_and_every_function_and_the_bounds() -> None:
    """And has examples."""
    assert re.findall(r"^\| `(\w+): .*` \|", DOCS, re.MULTILINE)[: len(_DIALECTS)] == list(_DIALECTS)
    assert set(FUNCTIONS) <= set(re.findall(r"`([A-Z_]+)`", DOCS))
    assert len(EXAMPLES) >= 15
    for bound in (MAX_LENGTH, MAX_DEPTH, MAX_TEXT):
        assert f"{bound:,}".replace(",", " ") in DOCS
    assert f"at most {MAX_VALUE} characters" in DOCS


def test_the_message_that_the_page_shows_is_the_message() -> None:
    """With file, line and column."""
    text = trigger("audit", "http://x/", spec="filters: [{cesql: 'type LIKE 5'}]")
    with pytest.raises(ConfigurationError) as caught:
        load_texts({"b.yaml": BROKER, "triggers/20-audit.yaml": "\n" + text})
    assert f"    {caught.value}\n" in DOCS


@pytest.mark.parametrize(
    "item",
    [
        {"not": {}},
        {"exact": {"type": ""}},
        {"cesql": ""},
        *({"cesql": text} for text in ("LENGTH(type)", "NOPE() = 1", "type = 'a';")),
    ],
    ids=str,
)
def test_what_the_page_calls_refused_is_refused(item: dict[str, object]) -> None:
    """Where Knative admits it."""
    with pytest.raises(FilterError):
        compile_filters({"filters": [item]})


@pytest.mark.parametrize(
    ("expression", "passes"),
    [
        ("name = 'Zoë' AND LENGTH(name) = 3 AND name LIKE 'Zo_' AND LEFT(name, 3) = name", True),
        ("SUBSTRING(name, 1, -1) = '' OR TRUE", False),
        ("big + 1 < 0", False),
        (r"path LIKE 'a\_b'", False),
        ("'%x' LIKE '%'", True),
        ("UPPER('ß') = 'SS'", True),
        ("NOT 10 = FALSE", True),
        ("name", False),
    ],
)
def test_the_verdicts_that_differ_from_knatives_are_as_the_page_says(expression: str, passes: bool) -> None:
    """Those that are not refused."""
    wants = compile_filters({"filters": [{"cesql": expression}]})
    assert wants(event(name="Zoë", big="2147483647", path=r"a\xb")) is passes
