"""The configuration in force: files that operators edit, read again when they change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from greenlight.lib.clock import Clock
from greenlight.lib.documents import load
from greenlight.lib.errors import ConfigurationError, UnreadableFile
from greenlight.lib.files import files_of
from greenlight.lib.programs import missing
from greenlight.lib.references import unresolved
from greenlight.lib.watched import Watched
from greenlight.model.policy import Pipeline
from greenlight.policy.load import PolicyError, Problem, parse, warnings

LOOK_EVERY = 1.0
"""Seconds between two looks at the files."""


def pipeline_files(folder: Path) -> list[Path]:
    """Find `pipeline.yaml`, or every YAML file of the folder `pipeline/`, by name; OSError if a folder cannot be read."""
    single = folder / "pipeline.yaml"
    if single in files_of(folder):
        return [single]
    return [file for file in files_of(folder / "pipeline") if file.suffix in (".yaml", ".yml")]


def read_pipeline(folder: Path) -> Pipeline:
    """The pipeline of a configuration folder; ConfigurationError names every problem with file and line."""
    try:
        texts = {file: file.read_text(encoding="utf-8") for file in pipeline_files(folder)}
    except OSError as error:
        raise UnreadableFile(f"{folder}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{folder}: cannot be read: {error}") from error
    if not texts:
        raise ConfigurationError(
            f"{folder}/pipeline.yaml: not there. Write one (docs/policy.md, config/pipeline.example.yaml), "
            "or name its folder with --config, or see it work first: greenlight up --demo"
        )
    try:
        return parse({str(file): text for file, text in texts.items()}, next(iter(texts)).parent)
    except PolicyError as error:
        raise ConfigurationError(str(error)) from error


def missing_files(folder: Path) -> list[Problem]:
    """The charts and commands that a right pipeline names beside it and that are not there: a deployment would be an error."""
    found = []
    for file in pipeline_files(folder):
        for document in load(file.read_text(encoding="utf-8"), str(file)):
            for path, chart in _charts(document.value):
                if "://" not in chart and not (file.parent / chart / "Chart.yaml").is_file():
                    message = f"chart {chart!r} is not a folder with a Chart.yaml beside the pipeline file"
                    found.append(Problem(str(file), document.line(path), message))
            for path, command in _commands(document.value):
                line = document.line((*path, "run"))
                found += [Problem(str(file), line, problem) for problem in missing(command, file.parent)]
    return found


def pipeline_warnings(folder: Path) -> list[Problem]:
    """What of a right pipeline works and is not wise, or is not on this machine: secrets, which only a deployer needs."""
    files = pipeline_files(folder)
    texts = {str(file): file.read_text(encoding="utf-8") for file in files}
    found = warnings(texts)
    for file in files:
        for document in load(texts[str(file)], str(file)):
            for path, command in _commands(document.value):
                found += [
                    Problem(
                        str(file), document.line(path), f"{problem}; where it is not there, nothing can be deployed"
                    )
                    for problem in unresolved(command, file.parent)
                ]
    return found


def _commands(value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """What the `command` of each environment says, with its path."""
    for index, app in enumerate(value.get("applications", ())):
        for number, environment in enumerate(app["environments"]):
            if "command" in environment["deploy"]:
                path = ("applications", index, "environments", number, "deploy", "command")
                yield path, environment["deploy"]["command"]


def _charts(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every chart that is a text, with its path."""
    for index, app in enumerate(value.get("applications", ())):
        for number, environment in enumerate(app["environments"]):
            chart = environment["deploy"].get("helm", {}).get("chart")
            if isinstance(chart, str):
                yield ("applications", index, "environments", number, "deploy", "helm", "chart"), chart


class PipelineFiles:
    """The pipeline in force. An edit takes effect within LOOK_EVERY; a wrong one changes nothing, and the log says why."""

    def __init__(self, folder: Path, clock: Clock, log: logging.Logger) -> None:
        self._log = log
        self._files = Watched(
            "pipeline", lambda: _stamp(folder), lambda: read_pipeline(folder), clock, log, every=LOOK_EVERY
        )

    def __call__(self) -> Pipeline:
        """Return the pipeline now; the files are looked at once in LOOK_EVERY at most."""
        return self._files()

    def look(self) -> None:
        """Look at the files now."""
        self._files.look()

    def on_change(self, call: Callable[[Pipeline], object]) -> None:
        """Call with the pipeline in force, now and whenever it changes; once more at the next look if the call raises."""
        self._files.on_change(call)
        try:
            call(self._files())
        except Exception:
            self._log.exception("pipeline: what follows from it could not be done; the next look tries again")
            self._files.again()


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what tells one state of the files from another. Raises OSError."""
    stats = [(str(file), file.stat()) for file in pipeline_files(folder)]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
