"""The file config/feedback.yaml: where feedback goes. It is read again when it changes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from greenlight.lib.clock import Clock
from greenlight.lib.documents import Document, DocumentError, load, text_of
from greenlight.lib.errors import ConfigurationError, UnreadableFile
from greenlight.lib.watched import Messages, Watched, stamp_of
from greenlight.policy.shape import closest, faults, filled

NAME = "feedback.yaml"
"""The file in the folder of the configuration."""

LOOK_EVERY = 1.0
"""Seconds between two looks at the file."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A receiver of notifications. Its secrets are the file notify-NAME in the secrets folder."""

    name: str
    webhook: str | None = None  # where CloudEvents are posted; None: each line of the secret is a URL of Apprise's


@dataclass(frozen=True, slots=True)
class Route:
    """The notices that go to some destinations."""

    to: tuple[str, ...]
    application: str | None = None  # None: of every one
    environment: str | None = None
    outcomes: tuple[str, ...] = ()  # none: all

    def takes(self, application: str, environment: str, outcome: str) -> bool:
        """Return whether a notice goes this way."""
        here = self.application in (None, application) and self.environment in (None, environment)
        return here and (not self.outcomes or outcome in self.outcomes)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The content of feedback.yaml, or the defaults where there is no such file."""

    url: str = "https://api.github.com"  # of GitHub's API, without a slash at its end
    app: int | None = None  # id of the GitHub App; None: a token is used
    board: str | None = None  # public URL of the board, without a slash at its end; None: no links
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()

    def page(self, repo: str, sha: str) -> str | None:
        """Return the address of a commit's page on the board; None if the board has no public URL."""
        return f"{self.board}/commits/{repo}/{sha}" if self.board is not None else None


class ConfigurationFile:
    """The configuration in force. A wrong edit changes nothing, and the log says why."""

    def __init__(self, folder: Path, clock: Clock, log: logging.Logger) -> None:
        """Read feedback.yaml of `folder`, which need not be there. Raises ConfigurationError with every problem."""
        path = folder / NAME
        self._files = Watched(
            Messages.about("feedback"), lambda: stamp_of([path]), lambda: read(path), clock, log, every=LOOK_EVERY
        )

    def __call__(self) -> Configuration:
        """Return the configuration now."""
        return self._files()


def read(path: Path) -> Configuration:
    """Return the content of the file; the defaults if it is not there.

    Raises ConfigurationError with every problem, by line; UnreadableFile if it cannot be read.
    """
    try:
        documents = load(text_of(path), str(path))
    except FileNotFoundError:
        return Configuration()
    except OSError as problem:
        raise UnreadableFile(f"{path}: cannot be read: {problem.strerror}") from problem
    except DocumentError as problem:
        raise ConfigurationError(str(problem)) from problem
    if len(documents) > 1:
        raise ConfigurationError(f"{path}: must be one YAML document")
    return _configuration(documents[0], path) if documents else Configuration()


@cache
def schema() -> Mapping[str, Any]:
    """Return the JSON Schema of the file."""
    text = resources.files("greenlight.feedback").joinpath("feedback.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _configuration(document: Document, path: Path) -> Configuration:
    wrong = [
        f"{path}:{document.line([*fault.path, *([fault.key] if fault.key is not None else [])])}: "
        f"{'.'.join(map(str, fault.path)) or 'the file'}: {fault.message}"
        for fault in faults(document.value, schema(), schema())
    ]
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    value = filled(document.value, schema(), schema())
    board, notifications = value.get("board"), value["notifications"]
    destinations = {
        name: Destination(name, (destination or {}).get("webhook"))
        for name, destination in notifications["destinations"].items()
    }
    for index, route in enumerate(notifications["routes"]):
        line = document.line(["notifications", "routes", index, "to"])
        unknown = [name for name in route["to"] if name not in destinations]
        wrong += [
            f"{path}:{line}: there is no destination {name!r}; {closest(name, list(destinations))}" for name in unknown
        ]
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    return Configuration(
        url=value["github"]["url"].rstrip("/"),
        app=value["github"].get("app"),
        board=board.rstrip("/") if board is not None else None,
        destinations=destinations,
        routes=tuple(_route(route) for route in notifications["routes"]),
    )


def _route(written: Mapping[str, Any]) -> Route:
    outcomes = tuple(written.get("outcomes", ()))
    return Route(tuple(written["to"]), written.get("application"), written.get("environment"), outcomes)
