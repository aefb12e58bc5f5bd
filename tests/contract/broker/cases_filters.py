"""Which events pass a Trigger: section 3 of the contract, and Knative's own tables of filters.

One event is sent to some Brokers that have a Trigger for each case, called by the number of the case.
"""

from __future__ import annotations

from typing import Any

from contract.broker.cases import FAST, binary, case, sink
from support.backends import Case, Scene, Send

EVENT = binary(
    b'{"secret": "stage"}',
    source="https://github.com/acme/shop",
    type="com.github.push",
    subject="abc",
    time="2026-01-01T00:00:00Z",
    content="application/json; charset=utf-8",
    stage="dev",
    count="5",
    flag="true",
    empty="",
)

PUSH, SHOP = "com.github.push", "https://github.com/acme/shop"


def legacy(**attributes: str) -> dict[str, Any]:
    return {"filter": {"attributes": attributes}}


def filters(*items: Any) -> dict[str, Any]:
    return {"filters": list(items)}


def exact(**attributes: str) -> dict[str, Any]:
    return {"exact": attributes}


CONTEXT = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype")

YES, NO = 1, 0

VERDICTS: list[tuple[str, dict[str, Any], int]] = [
    ("no-filter", {"filter": None}, YES),
    ("legacy-empty", {"filter": {}}, YES),
    ("legacy-no-attributes", legacy(), YES),
    ("legacy", legacy(type=PUSH), YES),
    ("legacy-case-matters", legacy(type="com.github.Push"), NO),
    ("legacy-all-of-them", legacy(type=PUSH, stage="prod"), NO),
    ("legacy-type-and-source", legacy(type=PUSH, source=SHOP), YES),
    ("legacy-extension", legacy(stage="dev"), YES),
    ("legacy-missing", legacy(nothere="x"), NO),
    ("legacy-any-value", legacy(stage=""), YES),
    ("legacy-any-type-this-source", legacy(type="", source=SHOP), YES),
    ("legacy-any-value-of-what-is-missing", legacy(nothere=""), NO),
    ("legacy-any-time", legacy(time=""), YES),
    ("empty-filters-keep-filter", {"filters": [], **legacy(stage="prod")}, NO),
    ("empty-filters-keep-a-filter-that-passes", {"filters": [], **legacy(stage="dev")}, YES),
    ("filters-override-filter", {**filters(exact(stage="dev")), **legacy(id="x")}, YES),
    ("filters-override-a-filter-that-passes", {**filters(exact(stage="prod")), **legacy(stage="dev")}, NO),
    ("items-are-anded", filters(exact(stage="dev"), exact(type="x")), NO),
    ("items-all-pass", filters(exact(stage="dev"), exact(type=PUSH)), YES),
    ("an-empty-item", filters({}), YES),
    ("an-empty-item-beside-one-that-fails", filters({}, exact(stage="prod")), NO),
    ("exact", filters(exact(stage="dev", type=PUSH)), YES),
    ("exact-one-of-two-fails", filters(exact(stage="dev", type="x")), NO),
    ("exact-missing", filters(exact(nothere="x")), NO),
    ("exact-integer", filters(exact(count="5")), YES),
    ("exact-boolean", filters(exact(flag="true")), YES),
    ("exact-specversion", filters(exact(specversion="1.0")), YES),
    ("exact-time", filters(exact(time="2026-01-01T00:00:00Z")), YES),
    ("exact-subject", filters(exact(subject="abc")), YES),
    ("exact-datacontenttype", filters(exact(datacontenttype="application/json; charset=utf-8")), YES),
    ("exact-datamediatype", filters(exact(datamediatype="application/json")), YES),
    ("exact-of-nothing", filters({"exact": {}}), YES),
    ("prefix-dataschema-missing", filters({"prefix": {"dataschema": "h"}}), NO),
    ("data-is-never-looked-at", filters(exact(secret="stage")), NO),
    ("the-arrival-time-can-be-asked-for", filters({"prefix": {"knativearrivaltime": "20"}}), YES),
    ("the-hops-cannot", filters(exact(knativebrokerttl="255")), NO),
    ("prefix", filters({"prefix": {"source": "https://github.com/", "type": "com."}}), YES),
    ("prefix-fails", filters({"prefix": {"source": "https://gitlab.com/"}}), NO),
    ("prefix-missing", filters({"prefix": {"nothere": "x"}}), NO),
    ("prefix-one-of-two-fails", filters({"prefix": {"source": "https://", "type": "org."}}), NO),
    ("suffix", filters({"suffix": {"source": "/shop", "type": ".push"}}), YES),
    ("suffix-fails", filters({"suffix": {"type": ".pull"}}), NO),
    ("suffix-missing", filters({"suffix": {"nothere": "x"}}), NO),
    ("all", filters({"all": [exact(stage="dev"), {"prefix": {"type": "com."}}]}), YES),
    ("all-one-fails", filters({"all": [exact(stage="dev"), {"prefix": {"type": "org."}}]}), NO),
    ("any", filters({"any": [exact(stage="prod"), exact(stage="dev")]}), YES),
    ("any-none", filters({"any": [exact(stage="prod"), exact(stage="qa")]}), NO),
    ("any-of-dialects", filters({"any": [{"suffix": {"type": ".pull"}}, {"prefix": {"type": "com."}}]}), YES),
    ("not", filters({"not": exact(stage="dev")}), NO),
    ("not-another", filters({"not": exact(stage="prod")}), YES),
    ("not-missing", filters({"not": exact(nothere="x")}), YES),
    ("not-not", filters({"not": {"not": exact(stage="dev")}}), YES),
    (
        "nested",
        filters({"not": {"all": [{"any": [{"suffix": {"subject": "-2"}}]}, exact(stage="dev")]}}),
        YES,
    ),
    ("cesql", filters({"cesql": f"type = '{PUSH}' AND stage IN ('dev', 'qa')"}), YES),
    ("cesql-fails", filters({"cesql": "type LIKE 'org.%'"}), NO),
    ("cesql-like", filters({"cesql": "source LIKE '%/acme/%' AND NOT EXISTS nothere"}), YES),
    ("cesql-missing-attribute", filters({"cesql": "nothere = 'x'"}), NO),
    ("cesql-missing-attribute-negated", filters({"cesql": "NOT (nothere = 'x')"}), NO),
    ("cesql-text-as-number", filters({"cesql": "count > 4"}), YES),
    ("cesql-text-as-boolean", filters({"cesql": "flag = true"}), YES),
    ("cesql-division-by-zero", filters({"cesql": "count / 0 = 1"}), NO),
    ("cesql-beside-exact", filters({"cesql": "EXISTS stage"}, exact(stage="prod")), NO),
    ("cesql-context-attributes", filters({"cesql": " AND ".join(f"EXISTS {name}" for name in CONTEXT)}), YES),
    ("cesql-specversion", filters({"cesql": "specversion = '1.0' AND subject = 'abc'"}), YES),
    ("cesql-data-is-never-looked-at", filters({"cesql": "EXISTS secret"}), NO),
    ("cesql-no-names-of-other-dialects", filters({"cesql": "EXISTS datamediatype OR EXISTS schemaurl"}), NO),
    ("cesql-an-error-is-a-no", filters({"cesql": "count / 0 = 1 OR TRUE"}), NO),
    ("cesql-not-of-an-error-is-a-yes", filters({"not": {"cesql": "nothere = 'x'"}}), YES),
    ("cesql-a-flag-negated", filters({"cesql": "NOT flag"}), NO),
    ("cesql-every-attribute-is-a-text", filters({"cesql": "IS_INT(flag)"}), NO),
    ("cesql-within-not", filters({"not": {"cesql": "stage = 'prod'"}}), YES),
    ("cesql-within-any", filters({"any": [{"cesql": "stage = 'prod'"}, {"cesql": "stage = 'dev'"}]}), YES),
]

TOGETHER = 20
"""Triggers on one Broker: what it costs to add one grows with those that are there."""

TABLES = [
    Scene(
        f"3-filters-from-{first}",
        [EVENT],
        {f"n{first + number}": spec for number, (_, spec, _) in enumerate(VERDICTS[first : first + TOGETHER])},
        broker={"delivery": {"retry": 0}},
    )
    for first in range(0, len(VERDICTS), TOGETHER)
]

SINGLE: list[Case] = [
    case(
        "3-time-is-compared-as-it-was-sent",
        binary(time="2026-01-01T01:00:00+01:00"),
        {"one": filters(exact(time="2026-01-01T01:00:00+01:00")), "two": filters(exact(time="2026-01-01T00:00:00Z"))},
        {"one": 1, "two": 0},
        knative={"one": 0, "two": 1},
        difference="time",
    ),
    case(
        "3-a-time-that-is-not-there",
        binary(),
        {"one": legacy(time="")},
        {"one": 0},
        knative={"one": 1},
        difference="time",
    ),
    case(
        "3-cesql-that-is-no-boolean",
        binary(count="5"),
        {"one": {**filters({"cesql": "count"}), "delivery": sink("dead", **FAST)}},
        {"one": 0, "dead": 0},
        knative={"dead": 1},
        difference="cesql-no-boolean",
    ),
    case(
        "3-cesql-values",
        binary(),
        {
            "characters": filters({"cesql": "LENGTH('ä') = 1"}),
            "overflow": filters({"cesql": "2147483647 + 1 < 0"}),
            "percent": filters({"cesql": "'%x' LIKE '%'"}),
            "upper": filters({"cesql": "UPPER('ß') = 'SS'"}),
        },
        {"characters": 1, "overflow": 0, "percent": 1, "upper": 1},
        knative={"characters": 0, "overflow": 1, "percent": 0, "upper": 0},
        difference="cesql-values",
    ),
    case(
        "3+6-many-triggers",
        [
            binary(type=type, source=source, id=f"${{case}}-{type}-{source}", ext=ext)
            for type in "ab"
            for source in "xy"
            for ext in "mn"
        ],
        {
            "all": legacy(type="", source=""),
            "type": legacy(type="a", source=""),
            "source": legacy(type="", source="x"),
            "both": legacy(type="a", source="x"),
            "ext": legacy(type="a", source="x", ext="m"),
        },
        {"all": 8, "type": 4, "source": 4, "both": 2, "ext": 1},
    ),
    case(
        "3-non-ascii",
        Send(binary(subject="gr%C3%BCn").headers, b"{}"),
        {"one": filters(exact(subject="grün")), "two": filters(exact(subject="gr%C3%BCn"))},
        {"one": 1, "two": 0},
        knative={"one": 0, "two": 1},
        difference="percent-encoding",
    ),
]

CASES = [
    *(
        Case(f"3-{name}", TABLES[number // TOGETHER], {f"n{number}": verdict})
        for number, (name, _, verdict) in enumerate(VERDICTS)
    ),
    *SINGLE,
]
