"""A driver's section in the pipeline file, `deploy: {DRIVER: …}`: how it is written, checked and explained.

The pipeline's reader is given the classes of all drivers by their names; it knows none of them itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from greenlight.model.policy import Deploy
from greenlight.policy.shape import Fault, Schema, Step

Section = Mapping[str, Any]
"""What stands under the driver's name, as written."""

Steps = tuple[Step, ...]
"""A path inside a document."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place that an environment is deployed to.

    No two environments may share one, since one would overwrite the other.
    """

    key: tuple[str, ...]
    field: str  # of the section, where a second one is reported
    message: str  # what is wrong with a second one; "{other}" is replaced by the first one's name


@dataclass(frozen=True)
class DriverSection(Deploy):
    """A driver's section. Faults and warnings have paths below the section."""

    schema: ClassVar[Schema]
    definitions: ClassVar[Mapping[str, Schema]] = {}  # what else the schema names as `#/$defs/NAME`

    @classmethod
    def faults(cls, section: Section, clusters: Sequence[str]) -> Iterator[Fault]:
        """Find what is wrong with a section, of any shape, that its schema cannot say; `clusters` are the names of all."""
        yield from ()

    @classmethod
    def warnings(cls, section: Section, plain: Mapping[Steps, str]) -> Iterator[Fault]:
        """Find what works in a faultless section but is unwise; `plain` has the texts without quotes, by path."""
        yield from ()

    @classmethod
    def tagged(cls, section: Section) -> Iterator[Steps]:
        """Find where a section, of any shape, puts in the name of the tag that is deployed."""
        yield from ()

    @property
    def needs_tag(self) -> bool:
        return any(True for _ in self.tagged(self.config))

    @classmethod
    def place(cls, section: Section, clusters: Mapping[str, Any]) -> Place | None:
        """Return the place that no other environment may share, whatever the shape of the section.

        None: it has none.
        """
        return None

    @abstractmethod
    def missing(self, directory: Path) -> Iterator[Fault]:
        """Find what the section names below the pipeline file's folder and does not exist.

        A deployment would be an error.
        """

    def unresolved(self, directory: Path) -> Iterator[str]:
        """Find what a deployer needs and this machine lacks, such as secrets; a sentence each."""
        yield from ()


Drivers = Mapping[str, type[DriverSection]]
"""The sections of all drivers, by name."""


def texts(value: Any, path: Steps = ()) -> Iterator[tuple[Steps, str]]:
    """Yield every text in a JSON value, keys aside, with its path."""
    if isinstance(value, str):
        yield path, value
    for key, item in value.items() if isinstance(value, dict) else items(value):
        yield from texts(item, (*path, key))


def inside(folder: Any, path: Steps) -> Iterator[Fault]:
    """Find a name that leads out of the pipeline file's folder; links are checked where the file is opened."""
    if isinstance(folder, str) and (folder.startswith(("/", "~")) or ".." in folder.split("/") or "\\" in folder):
        yield Fault(path, f"{folder!r} leads out of the folder of the pipeline file; name one below it")


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty one: the schema reports a wrong shape."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[tuple[int, Any]]:
    """Return the items of a list with their places; nothing for another value."""
    return list(enumerate(value)) if isinstance(value, list) else []
