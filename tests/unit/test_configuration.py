"""The pipeline in force: what an edit does, a wrong one, and one whose consequences fail."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenlight.policy.model import Pipeline
from greenlight.runtime.configuration import LOOK_EVERY, PipelineFiles, missing_charts
from support_flow import PIPELINE
from support_process import no_files_left


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


@pytest.mark.parametrize("place", ["pipeline.yaml", "pipeline/one.yaml"])
def test_an_edit_that_could_not_be_read_is_in_force_once_it_can(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No descriptor is left just then: what is in force stays, the log says so once, and the edit is not forgotten."""
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(PIPELINE)
    files = PipelineFiles(tmp_path, _Clock(), logging.getLogger("test"))
    file.write_text(PIPELINE.replace("name: shop", "name: store"))
    with no_files_left():
        assert [list(files().applications) for _ in range(3)] == [["shop"]] * 3
    assert caplog.text.count("stays until its files can be read") == 1
    assert list(files().applications) == ["store"]


def test_a_chart_that_is_not_beside_the_pipeline_file_is_named_with_its_line(tmp_path: Path) -> None:
    """Before a deployment needs it; one that a digest names is fetched then."""
    helm = "helm: {cluster: c, release: r, namespace: n, chart: CHART}"
    text = PIPELINE.replace("applications:", "clusters: {c: {in-cluster: true}}\napplications:")
    for chart in ("charts/shop", f"oci://example.com/shop@sha256:{'0' * 64}"):
        text = text.replace("command: {run: [sh, deploy.sh], timeout: 30s}", helm.replace("CHART", f'"{chart}"'), 1)
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    line = next(number for number, it in enumerate(text.splitlines(), 1) if "charts/shop" in it)
    (problem,) = missing_charts(tmp_path)
    assert str(problem).startswith(f"{file}:{line}: chart 'charts/shop' is not a folder with a Chart.yaml")
    (tmp_path / "charts/shop").mkdir(parents=True)
    (tmp_path / "charts/shop/Chart.yaml").touch()
    assert missing_charts(tmp_path) == []
