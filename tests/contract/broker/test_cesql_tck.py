"""CESQL against the conformance tests (TCK) of its specification, version 1.0.0: every file, every case.

They are not ours to ship. GREENLIGHT_CESQL_TCK names a folder that has them: `cesql/cesql_tck` of a checkout of the
specification, or `test/tck` of the Go module github.com/cloudevents/sdk-go/sql/v2, which `.ci/run` downloads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from greenlight.broker.cesql import ParseError, compile_expression

FOLDER = os.environ.get("GREENLIGHT_CESQL_TCK")
EVENT = {"specversion": "1.0", "id": "1", "source": "/tck", "type": "tck.case"}

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="needs the specification's tests, and their folder in GREENLIGHT_CESQL_TCK; .ci/run has both"
)


class Case(NamedTuple):
    """One case; `error` is None, parse, or one of EvaluationError's."""

    name: str
    expression: str
    attributes: dict[str, Any]
    result: Any
    error: str | None


def _cases(file: Path) -> Iterator[Case]:
    text = file.read_text(encoding="utf-8")
    typed, plain = yaml.safe_load(text), yaml.load(text, yaml.BaseLoader)  # an expression that is 1 or TRUE is a text
    for case, raw in zip(typed["tests"], plain["tests"], strict=True):
        attributes = {**(case.get("event") or EVENT), **case.get("eventOverrides", {})}
        yield Case(
            f"{file.stem}: {case['name']}",
            raw["expression"],
            {name: _text(value) for name, value in attributes.items()},
            _text(case.get("result")),
            case.get("error"),
        )


def _text(value: Any) -> Any:
    """YAML knows timestamps; attributes and CESQL do not."""
    return value.isoformat() if isinstance(value, datetime) else value


CASES = [case for file in sorted(Path(FOLDER).glob("*.yaml")) for case in _cases(file)] if FOLDER else []

# The specification's own copy of one case contradicts its text: section 3.7 casts every Integer to a Boolean, as the TCK's
# own `BOOL(100)` does, and so `NOT 10` is false without an error. The copy in the Go SDK, which Knative runs, says so.
CORRECTED = {("NOT 10", True, "cast"): (False, None)}


def test_the_folder_has_every_file_and_every_case() -> None:
    """So that a folder which is something else does not pass for a success."""
    assert len({case.name.partition(":")[0] for case in CASES}) == 18
    assert len(CASES) == 275


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_of_the_tck(case: Case) -> None:
    """The value, its type and the error."""
    if case.error == "parse":
        with pytest.raises(ParseError):
            compile_expression(case.expression, lambda name: lambda event: None)
        return
    result, expected = CORRECTED.get((case.expression, case.result, case.error or ""), (case.result, case.error))
    expression = compile_expression(case.expression, lambda name: lambda event: event.get(name))
    value, error = expression.evaluate(case.attributes)
    assert (value, type(value)) == (result, type(result))
    assert (error and error.error) == expected
