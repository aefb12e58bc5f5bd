"""The pipeline in force: what an edit does, a wrong one, and one whose consequences fail."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenlight.policy.model import Pipeline
from greenlight.runtime.configuration import LOOK_EVERY, PipelineFiles
from support_flow import PIPELINE


class _Clock:
    """Moved by the test."""

    seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        self.seconds += LOOK_EVERY
        return self.seconds


def test_what_follows_from_an_edit_is_done_at_last(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is told and fails is told again; nobody who only reads the pipeline notices."""
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE)
    files = PipelineFiles(tmp_path, _Clock(), logging.getLogger("test"))
    told: list[list[str]] = []

    def tell(pipeline: Pipeline) -> None:
        told.append(list(pipeline.applications))
        if len(told) == 2:
            raise OSError("no room")

    files.on_change(tell)
    file.write_text(PIPELINE.replace("name: shop", "name: store"))
    assert [list(files().applications) for _ in range(3)] == [["store"]] * 3
    assert told == [["shop"], ["store"], ["store"]]
    file.write_text("nonsense")
    assert [list(files().applications) for _ in range(2)] == [["store"]] * 2
    assert len(told) == 3
    assert caplog.text.count("the one before stays in force") == 1
