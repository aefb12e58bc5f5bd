"""The pipeline in force: what an edit does, a wrong one, and one whose consequences fail."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenlight.entrypoints.drivers import DRIVERS, Drivers
from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import ConfigurationError, UnreadableFile
from greenlight.lib.scrub import Scrubber
from greenlight.model.policy import Pipeline
from greenlight.service.configuration import LOOK_EVERY, PipelineFiles, missing_files, read_pipeline
from greenlight.service.people import read as read_people
from support.flow import PIPELINE
from support.process import no_files_left


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
    files = PipelineFiles(tmp_path, DRIVERS, _Clock(), logging.getLogger("test"))
    told: list[list[str]] = []

    def tell(pipeline: Pipeline) -> None:
        told.append(list(pipeline.applications))
        if len(told) == 2:
            raise OSError("no room")

    files.on_change(tell)
    file.write_text(PIPELINE.replace("name: shop", "name: store"))
    assert [list(files().applications) for _ in range(4)] == [["shop"], *[["store"]] * 3]
    assert told == [["shop"], ["store"], ["store"]]
    file.write_text("nonsense")
    assert [list(files().applications) for _ in range(3)] == [["store"]] * 3
    assert len(told) == 3
    assert caplog.text.count("the content before stays in force:\n") == 1


@pytest.mark.parametrize("place", ["pipeline.yaml", "pipeline/one.yaml"])
def test_an_edit_that_could_not_be_read_is_in_force_once_it_can(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No descriptor is left just then: what is in force stays, the log says so once, and the edit is not forgotten."""
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(PIPELINE)
    files = PipelineFiles(tmp_path, DRIVERS, _Clock(), logging.getLogger("test"))
    file.write_text(PIPELINE.replace("name: shop", "name: store"))
    with no_files_left():
        assert [list(files().applications) for _ in range(3)] == [["shop"]] * 3
    assert caplog.text.count("pipeline: cannot be read now") == 1
    assert [list(files().applications) for _ in range(2)][-1] == ["store"]


def test_half_of_a_file_is_not_in_force(tmp_path: Path) -> None:
    """A beginning that is faultless may lack the gates that follow: what is written just now has to stay as it is."""
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE)
    files = PipelineFiles(tmp_path, DRIVERS, _Clock(), logging.getLogger("test"))
    whole = PIPELINE.replace("[build, scan, legal]\n", "\n          - build\n          - scan\n          - legal\n", 1)
    place = whole.index("          - legal\n")
    seen = []
    for content in (whole[:place], whole, whole):
        file.write_text(content)
        seen.append(files().applications["shop"].environments["production"].require)
    assert [len(gates) for gates in seen] == [3, 3, 3]


def test_what_editors_and_systems_put_beside_the_files_is_no_file_of_the_pipeline(tmp_path: Path) -> None:
    """An Emacs lock is a link to nowhere, macOS writes binary files beside others, and the kubelet links through `..data`."""
    folder = tmp_path / "pipeline"
    (folder / "..2026_11_30").mkdir(parents=True)
    (folder / "..2026_11_30" / "shop.yaml").write_text(PIPELINE)
    (folder / "..data").symlink_to("..2026_11_30")
    (folder / "shop.yaml").symlink_to("..data/shop.yaml")
    (folder / ".#shop.yaml").symlink_to("lena@host.4711:1")
    (folder / "._shop.yaml").write_bytes(b"\x00\x05\x16\x07\xff")
    assert list(read_pipeline(tmp_path, DRIVERS).applications) == ["shop"]


def test_what_is_no_text_is_named_and_what_never_ends_is_not_waited_for(tmp_path: Path) -> None:
    """File and line of bytes in another encoding; a pipe without a writer stops no thread for ever."""
    file = tmp_path / "pipeline.yaml"
    file.write_bytes(PIPELINE.encode() + "# caf\xe9\n".encode("latin-1"))
    line = PIPELINE.count("\n") + 1
    with pytest.raises(ConfigurationError, match=rf"pipeline\.yaml:{line}: is not UTF-8 .*: save it as UTF-8"):
        read_pipeline(tmp_path, DRIVERS)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UnreadableFile, match="a folder, a pipe or a device"):
        read_pipeline(tmp_path, DRIVERS)
    with pytest.raises(UnreadableFile, match="a folder, a pipe or a device"):
        read_people(file)


def test_a_chart_that_is_not_beside_the_pipeline_file_is_named_with_its_line(tmp_path: Path) -> None:
    """Before a deployment needs it; one that a digest names is fetched then."""
    helm = "helm: {cluster: c, release: r, namespace: n, chart: CHART}"
    text = PIPELINE.replace("applications:", "clusters: {c: {in-cluster: true}}\napplications:")
    for chart in ("charts/shop", f"oci://example.com/shop@sha256:{'0' * 64}"):
        text = text.replace("command: {run: [sh, deploy.sh], timeout: 30s}", helm.replace("CHART", f'"{chart}"'), 1)
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    line = next(number for number, it in enumerate(text.splitlines(), 1) if "charts/shop" in it)
    (problem,) = missing_files(tmp_path, DRIVERS)
    assert str(problem).startswith(f"{file}:{line}: chart 'charts/shop' is not a folder with a Chart.yaml")
    (tmp_path / "charts/shop").mkdir(parents=True)
    (tmp_path / "charts/shop/Chart.yaml").touch()
    assert missing_files(tmp_path, DRIVERS) == []


@pytest.mark.parametrize(
    ("command", "lacks"),
    [
        ("{run: [./deploy.sh]}", "'./deploy.sh' is not there"),
        ("{run: [bin/there]}", None),
        ("{run: [bin]}", None),  # looked up on the PATH, which this machine's check says nothing of
        ("{run: [./bin]}", "'./bin' is not there"),
        ("{run: [./there], cwd: bin}", None),
        ("{run: [./not], cwd: bin}", "'./not' is not executable: chmod +x"),
        ("{run: [./there], cwd: missing}", "cwd 'missing' is not a folder beside the pipeline file"),
        ("{run: [sh, deploy.sh], cwd: missing}", "cwd 'missing' is not a folder beside the pipeline file"),
        ("{run: [sh], cwd: out}", "cwd 'out' leads out of the pipeline file's folder"),
        ("{run: [no-such-program]}", None),
        ("{run: [/no/such/program]}", None),
    ],
)
def test_a_command_that_is_not_beside_the_pipeline_file_is_named_with_its_line(
    tmp_path: Path, command: str, lacks: str | None
) -> None:
    """So is one that is not executable; what this machine has elsewhere is a deployer's business."""
    (tmp_path / "bin").mkdir()
    for name, mode in (("there", 0o755), ("not", 0o644)):
        (tmp_path / "bin" / name).touch()
        (tmp_path / "bin" / name).chmod(mode)
    (tmp_path / "out").symlink_to("/")
    text = PIPELINE.replace("{run: [sh, deploy.sh], timeout: 30s}", command, 1)
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    line = next(number for number, it in enumerate(text.splitlines(), 1) if command in it)
    found = [str(problem) for problem in missing_files(tmp_path, DRIVERS)]
    assert [problem.startswith(f"{file}:{line}: {lacks}") for problem in found] == ([True] if lacks else [])


def test_what_a_machine_lacks_for_a_command_is_said_before_it_is_needed(tmp_path: Path) -> None:
    """At the start and by doctor: programs on the PATH that the command would have, or anywhere, and those beside the file."""
    file = tmp_path / "pipeline.yaml"
    commands = {
        "{run: [no-such-program]}": "'no-such-program' is not on the PATH of this Greenlight",
        "{run: [/no/such/program]}": "'/no/such/program' is not there",
        "{run: [./deploy.sh]}": "'./deploy.sh' is not there",
        "{run: [sh], env: {PATH: /nowhere}}": "'sh' is not on the PATH of this Greenlight",
        "{run: [sh]}": None,
    }
    for command, lacks in commands.items():
        file.write_text(PIPELINE.replace("{run: [sh, deploy.sh], timeout: 30s}", command, 1))
        drivers = Drivers(tmp_path / "state", Scrubber(), SystemClock())
        found = drivers.problems(read_pipeline(tmp_path, DRIVERS))
        drivers.close()
        assert [problem.startswith(f"shop/staging: {lacks}") for problem in found] == ([True] if lacks else [])
