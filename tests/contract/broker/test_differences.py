"""The table of differences is what the cases show, and what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.broker.differences import DIFFERENCES, page
from contract.broker.test_admission import MANIFESTS
from contract.broker.test_parity import CASES
from greenlight.lib.errors import ConfigurationError
from support.broker import BROKER, Recorder, event, running, trigger

PAGE = Path(__file__).parents[3] / "docs" / "broker-differences.md"


def test_every_difference_of_the_table_is_shown_by_a_case_and_every_case_has_its_reason() -> None:
    """A case is green only if the two brokers differ as it says; what no cluster survives is shown below."""
    shown = {case.difference for case in CASES} | {manifest.difference for manifest in MANIFESTS}
    assert shown - {None} == {name for name, it in DIFFERENCES.items() if not it.fatal}


def test_the_page_is_the_table() -> None:
    """To write it again: PYTHONPATH=services:tests python -m contract.broker.test_differences."""
    assert PAGE.read_text() == page(len(CASES), len(MANIFESTS))


def test_a_long_answer_is_cut(tmp_path: Path) -> None:
    """long-answers: from 769 bytes on, Knative's dispatcher ends."""
    spec = "delivery: {deadLetterSink: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: sink}}}"
    failing, sink = Recorder(lambda n, request: (422, {}, b"y" * 5000)), Recorder()
    with running(tmp_path, trigger("one", "s", spec=spec), services={"s": failing, "sink": sink}) as broker:
        broker.publish(event())
        (request,) = sink.wait(1)
    assert len(request.headers["ce-knativeerrordata"]) == 1024


def test_an_empty_not_is_refused(tmp_path: Path) -> None:
    """empty-not: Knative's filter ends."""
    with (
        pytest.raises(ConfigurationError, match="not needs a filter"),
        running(tmp_path, trigger("one", "http://x/", spec="filters: [{not: {}}]"), broker=BROKER),
    ):
        pass


if __name__ == "__main__":
    PAGE.write_text(page(len(CASES), len(MANIFESTS)))
