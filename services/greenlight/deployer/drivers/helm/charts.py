"""The exact chart of a release: a folder beside the pipeline file, or one with a digest, which is kept once fetched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.lib.errors import ConfigurationError
from greenlight.lib.files import files_below, files_of

MAX_BYTES = 32 << 20
"""Of a chart's folder: a chart larger than a Secret's megabyte cannot be released anyway."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, by its digest.

    `path` is where Helm finds it; `pull` are the arguments that fetch it, if it is not there yet.
    """

    digest: str
    path: Path
    pull: Sequence[str] = ()
    sha256: str | None = None  # of the file, where that is what the digest is of


def chart_of(chart: str | Mapping[str, Any], directory: Path, kept: Path) -> Chart:
    """Return the chart that a pipeline file in `directory` names. Raises ConfigurationError where it is not there."""
    if isinstance(chart, str) and "://" not in chart:
        folder = _folder(directory, chart)
        return Chart(_folder_digest(folder), folder)
    if isinstance(chart, str):
        hexes = chart.rpartition("@sha256:")[2]
        return _without_download(Chart(f"sha256:{hexes}", kept / f"oci-{hexes}.tgz", ["pull", "--", chart]))
    hexes = chart["digest"].removeprefix("sha256:")
    pull = ["pull", "--repo", chart["repository"], "--version", chart["version"], "--", chart["name"]]
    return _without_download(Chart(chart["digest"], kept / f"{hexes}.tgz", pull, hexes))


def keep(chart: Chart, folder: Path) -> None:
    """Take what was pulled into an empty folder. Raises ConfigurationError if it is not what the pipeline file names."""
    files = [file for file in files_of(folder) if file.suffix == ".tgz"]
    if len(files) != 1:
        raise ConfigurationError(f"{len(files)} charts came where one was asked for")
    found = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if chart.sha256 is not None and found != chart.sha256:
        raise ConfigurationError(
            f"the repository gave a chart with the digest sha256:{found}, and the pipeline file names sha256:{chart.sha256}; "
            "nothing was deployed: find out who changed it"
        )
    os.replace(files[0], chart.path)


def _without_download(chart: Chart) -> Chart:
    return Chart(chart.digest, chart.path, (), chart.sha256) if chart.path.is_file() else chart


def _folder(directory: Path, name: str) -> Path:
    root = directory.resolve()
    folder = (root / name).resolve()
    if not folder.is_relative_to(root):
        raise ConfigurationError(f"chart {name!r} leads out of the pipeline file's folder")
    if not (folder / "Chart.yaml").is_file():
        raise ConfigurationError(f"chart {name!r} is not a folder with a Chart.yaml below {directory}")
    return folder


def _folder_digest(folder: Path) -> str:
    """Return the digest of every file's name and content."""
    digest, size = hashlib.sha256(), 0
    for path in files_below(folder):
        raw = path.read_bytes()
        size += len(raw)
        if size > MAX_BYTES:
            raise ConfigurationError(f"chart {folder} is larger than {MAX_BYTES >> 20} MiB")
        digest.update(b"%s\n%d\n" % (os.fsencode(path.relative_to(folder)), len(raw)))
        digest.update(raw)
    return f"sha256:{digest.hexdigest()}"
