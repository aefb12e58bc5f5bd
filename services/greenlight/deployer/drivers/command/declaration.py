"""`deploy: {command: …}`: how the section of a command is written, checked and explained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from greenlight.deployer.driver import Driver
from greenlight.deployer.drivers.declaration import Declaration
from greenlight.lib import programs, references
from greenlight.lib.clock import Clock
from greenlight.lib.scrub import Scrubber, secrets_in, secrets_of_arguments
from greenlight.policy.driver import Section, Steps, inside, mapping, texts
from greenlight.policy.shape import Fault, Schema

_PLACEHOLDER = re.compile(r"\$\{(?:[a-z][a-z0-9_.-]*)\}")
_VARIABLES = {"${repo}": "REPO", "${environment}": "ENVIRONMENT", "${tag}": "REF"}
_PLACES = ("_FILE", "_PATH", "_DIR")
_READABLE = "which every reader of this file or the ledger can read"
_INSTEAD = "name where it is: env: {{{}: {{file: PATH}}}} or {{from: VARIABLE}}"


@dataclass(frozen=True)
class Command(Declaration):
    """An argument list that is run without a shell."""

    driver = "command"
    schema: ClassVar[Schema] = {
        "type": "object",
        "required": ["run"],
        "additionalProperties": False,
        "properties": {
            "run": {
                "description": "The program and its arguments. There is no shell, and nothing is replaced.",
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "string",
                    "pattern": "^[^\\u0000]*$",
                    "errorMessage": "must be text; put it in quotes",
                },
                "errorMessage": "must be a list: the program and its arguments, such as [./deploy.sh, --wait]",
            },
            "env": {
                "description": "Added to the closed environment of the command.",
                "type": "object",
                "default": {},
                "propertyNames": {
                    "pattern": "^(?!GREENLIGHT_|TRACEPARENT$)[A-Za-z_][A-Za-z0-9_]*$",
                    "errorMessage": (
                        "must be the name of a variable, other than TRACEPARENT and GREENLIGHT_…, which Greenlight sets"
                    ),
                },
                "additionalProperties": {"$ref": "#/$defs/variable"},
            },
            "cwd": {"$ref": "#/$defs/folder", "default": "."},
            "timeout": {"$ref": "#/$defs/duration", "default": "10m"},
        },
    }
    definitions: ClassVar[Mapping[str, Schema]] = {
        "variable": {
            "description": ("A text, or where a secret is: a file, or a variable of Greenlight's own environment."),
            "type": ["string", "object"],
            "pattern": "^[^\\u0000]*$",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {
                "file": {
                    "description": "Its content is the value: below the pipeline file, or an absolute path.",
                    "type": "string",
                    "pattern": "^[^\\u0000-\\u001f\\u007f]{1,1024}$",
                    "errorMessage": "must be the path of a file",
                },
                "from": {
                    "description": "The variable of Greenlight's own environment that has the value.",
                    "type": "string",
                    "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
                    "errorMessage": "must be the name of a variable",
                },
            },
            "errorMessage": (
                "must be text; put it in quotes, or name where a secret is: {file: PATH} or {from: VARIABLE}"
            ),
        }
    }

    def explained(self) -> str:
        return f"{' '.join(self.config['run'])} (in {self.config['cwd']}, at most {self.config['timeout']})"

    @classmethod
    def faults(cls, section: Section, clusters: Sequence[str]) -> Iterator[Fault]:
        """Find paths that lead out of the folder, and placeholders, which nothing replaces in a command."""
        yield from inside(section.get("cwd"), ("cwd",))
        for field in ("run", "env"):
            for at, text in texts(section.get(field)):
                for found in _PLACEHOLDER.findall(text):
                    variable = f"$GREENLIGHT_{_VARIABLES.get(found, 'SHA')}"
                    message = (
                        f"{found} is not replaced in a command; its arguments are constants, so have it read {variable}"
                    )
                    yield Fault((field, *at), f"{message} or another GREENLIGHT_ variable")
        for name, value in mapping(section.get("env")).items():
            file = mapping(value).get("file")
            if isinstance(file, str) and not file.startswith("/"):
                yield from inside(file, ("env", name, "file"))

    @classmethod
    def warnings(cls, section: Section, plain: Mapping[Steps, str]) -> Iterator[Fault]:
        """Find secrets that stand in the file."""
        for name, value in section.get("env", {}).items():
            if isinstance(value, str) and value and _holds_secret(value, name):
                yield Fault(("env", name), f"seems to hold a secret, {_READABLE}; {_INSTEAD.format(name)}")
        if secrets_of_arguments(section.get("run", ())):
            seen = "and every program on the machine sees arguments"
            yield Fault(("run",), f"seems to hold a secret, {_READABLE}, {seen}; {_INSTEAD.format('NAME')}")

    def missing(self, directory: Path) -> Iterator[Fault]:
        """Find a program or folder that is not beside the pipeline file."""
        yield from (Fault(("run",), problem) for problem in programs.missing(self.config, directory))

    def unresolved(self, directory: Path) -> Iterator[str]:
        """Find secrets of the environment that cannot be read on this machine."""
        yield from references.unresolved(self.config, directory)

    @classmethod
    def make(cls, state: Path, scrub: Scrubber, clock: Clock) -> Driver:
        from greenlight.deployer.drivers.command.driver import CommandDriver

        return CommandDriver(state, scrub=scrub, clock=clock)


def _holds_secret(value: str, name: str) -> bool:
    """Return whether the value, or a part of it, is a secret; a variable named as a file or a folder holds none."""
    return bool(secrets_in(value, "" if name.upper().endswith(_PLACES) else name))
