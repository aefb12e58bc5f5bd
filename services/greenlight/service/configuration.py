"""The configuration in force: files that operators edit, read again when they change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from greenlight.lib.clock import Clock
from greenlight.lib.documents import DocumentError, text_of
from greenlight.lib.errors import ConfigurationError, UnreadableFile
from greenlight.lib.files import files_of, is_yaml
from greenlight.lib.watched import Messages, Watched, stamp_of, written_since
from greenlight.model.policy import Pipeline
from greenlight.policy.driver import Drivers
from greenlight.policy.load import PolicyError, Problem, missing, parse, unresolved, warnings

LOOK_EVERY = 1.0
"""Seconds between two looks at the files."""

FRESH = timedelta(seconds=0.5)
"""What was written within that time may be half of what is being written, and half of a policy may lack gates."""


def pipeline_files(folder: Path) -> list[Path]:
    """Find `pipeline.yaml`, or every YAML file of the folder `pipeline/`, by name, hidden ones left out.

    Raises OSError if a folder cannot be read.
    """
    single = folder / "pipeline.yaml"
    if single in files_of(folder):
        return [single]
    return [file for file in files_of(folder / "pipeline") if is_yaml(file)]


def read_pipeline(folder: Path, drivers: Drivers) -> Pipeline:
    """Return the pipeline of a configuration folder, deployed by these drivers.

    Raises ConfigurationError with every problem, by file and line.
    """
    try:
        texts = _texts(folder)
        directory = _directory(folder)
    except OSError as error:
        raise UnreadableFile(f"{folder}: cannot be read: {error}") from error
    except DocumentError as error:
        raise ConfigurationError(str(error)) from error
    if not texts:
        raise ConfigurationError(
            f"{folder}/pipeline.yaml: not there. Write one (docs/policy.md, config/pipeline.example.yaml), "
            "or name its folder with --config, or see it work first: greenlight up --demo"
        )
    try:
        return parse(texts, directory, drivers)
    except PolicyError as error:
        raise ConfigurationError(str(error)) from error


def missing_files(folder: Path, drivers: Drivers) -> list[Problem]:
    """Find what a faultless pipeline names beside it and does not exist: a deployment would be an error."""
    return missing(_texts(folder), _directory(folder), drivers)


def pipeline_warnings(folder: Path, drivers: Drivers) -> list[Problem]:
    """Find what works in a faultless pipeline but is unwise, and what this machine lacks and a deployer needs."""
    texts = _texts(folder)
    return warnings(texts, drivers) + unresolved(texts, _directory(folder), drivers)


def _texts(folder: Path) -> Mapping[str, str]:
    return {str(file): text_of(file) for file in pipeline_files(folder)}


def _directory(folder: Path) -> Path:
    """Return the folder of the pipeline files."""
    return next((file.parent for file in pipeline_files(folder)), folder)


class PipelineFiles:
    """The pipeline in force. An edit takes effect within two looks; a wrong one changes nothing, and the log says why."""

    def __init__(self, folder: Path, drivers: Drivers, clock: Clock, log: logging.Logger) -> None:
        self._log = log
        self._files = Watched(
            Messages.about("pipeline"),
            lambda: stamp_of(pipeline_files(folder)),
            lambda: read_pipeline(folder, drivers),
            clock,
            log,
            every=LOOK_EVERY,
            settle=lambda: written_since(pipeline_files(folder), clock.now() - FRESH),
        )

    def __call__(self) -> Pipeline:
        """Return the pipeline now; the files are looked at once in LOOK_EVERY at most."""
        return self._files()

    def look(self) -> None:
        """Look at the files now, and take up what they hold."""
        for _ in range(2):
            self._files.look()

    def on_change(self, call: Callable[[Pipeline], object]) -> None:
        """Call `call` with the pipeline in force, now and after each change.

        It is called once more at the next look if the call raises.
        """
        self._files.on_change(call)
        try:
            call(self._files())
        except Exception:
            self._log.exception("pipeline: the edit could not be applied everywhere; the next look tries again")
            self._files.again()
