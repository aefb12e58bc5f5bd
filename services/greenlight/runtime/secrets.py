"""The folder of secrets: a file per sender, a secret a line, read again when a file changes."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets as randomness
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenlight.files import make_folder
from greenlight.runtime import metrics
from greenlight.runtime.clock import Clock, SystemClock
from greenlight.runtime.errors import ConfigurationError
from greenlight.runtime.signing import key_of

LOOK_EVERY = 1.0
"""Seconds between two looks at the folder; a rotated secret is in force within 10 s, as promised."""

_FILE = re.compile(
    r"(?P<sender>github|circleci|gate-[A-Za-z0-9][A-Za-z0-9_.-]*|events-[A-Za-z0-9][A-Za-z0-9_.-]*)"
    r"(?:@(?P<owner>[A-Za-z0-9_.-]+)(?:\+(?P<name>[A-Za-z0-9_.-]+))?)?"
)


@dataclass(frozen=True, slots=True)
class Secret:
    """One line of a file."""

    value: bytes
    file: str
    scope: str | None  # the owner, or owner/name, that it speaks for; None: for all

    @property
    def label(self) -> str:
        """Tells the lines of a file apart without showing them."""
        return hashlib.sha256(self.value).hexdigest()[:8]

    def speaks_for(self, repo: str) -> bool:
        """Whether a body about `repo` (lower case) may be signed with it."""
        return self.scope is None or repo == self.scope or repo.startswith(f"{self.scope}/")

    def used(self, times: int = 1) -> None:
        """Count right signatures, so that one sees when an old secret has gone silent."""
        metrics.SECRETS.labels(self.file, self.label).inc(times)


class Secrets:
    """The secrets in force. A file without one stops the start; one that is emptied later speaks for nobody."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        """Read the folder. ConfigurationError names every file that is wrong."""
        self._folder, self._clock = folder, clock or SystemClock()
        self._lock = threading.Lock()
        problems: list[str] = []
        self._stamp = _stamp(folder)
        self._by_sender = _read(folder, problems)
        self._looked = self._clock.monotonic()
        if problems:
            raise ConfigurationError("\n".join(problems))

    def of(self, sender: str) -> Sequence[Secret]:
        """The live secrets of `github`, `circleci`, `gate-NAME` or `events-SENDER`; empty for a sender without any."""
        self._refresh()
        return self._by_sender.get(sender, ())

    def all(self) -> Sequence[Secret]:
        """Every live secret."""
        self._refresh()
        return [secret for found in self._by_sender.values() for secret in found]

    def _refresh(self) -> None:
        if self._clock.monotonic() - self._looked >= LOOK_EVERY and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()

    def _look(self) -> None:
        self._looked = self._clock.monotonic()
        stamp = _stamp(self._folder)
        if stamp != self._stamp:
            self._stamp, self._by_sender = stamp, _read(self._folder, [])


def create(folder: Path, senders: Sequence[str]) -> list[Path]:
    """Make the folder, and a secret for each sender that has no file; the files that are new."""
    make_folder(folder)
    made = []
    for sender in senders:
        path = folder / sender
        if any(path.parent.glob(f"{sender}@*")) or path.exists():
            continue
        raw = randomness.token_bytes(32)
        text = raw.hex() if sender in ("github", "circleci") else "whsec_" + base64.b64encode(raw).decode("ascii")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
        made.append(path)
    return made


def _stamp(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What is another one whenever a file was written, replaced, added or removed."""
    try:
        return tuple(sorted(_mark(path) for path in folder.iterdir()))
    except OSError:
        return ()


def _mark(path: Path) -> tuple[str, int, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return path.name, 0, 0, 0  # a link that leads nowhere must not hide the others
    return path.name, stat.st_ctime_ns, stat.st_size, stat.st_ino


def _read(folder: Path, problems: list[str]) -> Mapping[str, Sequence[Secret]]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as problem:
        problems.append(
            f"{folder}: {problem.strerror}. Make it with a file per sender: github, circleci, gate-NAME, events-SENDER"
        )
        return {}
    found: dict[str, list[Secret]] = {}
    for path in paths:
        match = _FILE.fullmatch(path.name)
        if path.name.startswith(".") or path.is_dir():
            continue  # a mounted Kubernetes Secret keeps its versions in hidden folders
        if match is None:
            problems.append(
                f"{path}: the name is not github, circleci, gate-NAME or events-SENDER, with @OWNER or @OWNER+NAME"
            )
            continue
        scope = "/".join(part for part in (match["owner"], match["name"]) if part).lower() or None
        lines = _lines(path, problems)
        if match["sender"].startswith(("gate-", "events-")):
            lines = _standard(path, lines, problems)
        found.setdefault(match["sender"], []).extend(Secret(line, path.name, scope) for line in lines)
    for secret in (secret for of_sender in found.values() for secret in of_sender):
        secret.used(0)  # a line that nobody uses is one that shows
    return found


def _lines(path: Path, problems: list[str]) -> list[bytes]:
    """One secret a line; a line ends in LF or CRLF, and one of white space is blank."""
    try:
        raw = path.read_bytes()
    except OSError as problem:
        problems.append(f"{path}: cannot be read: {problem.strerror}")
        return []
    lines = [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    lines = [line for line in lines if line.strip()]
    if not lines:
        problems.append(f"{path}: holds no secret. Write one a line, or remove the file")
    return lines


def _standard(path: Path, lines: list[bytes], problems: list[str]) -> list[bytes]:
    good = []
    for number, line in enumerate(lines, 1):
        try:
            key_of(line)
            good.append(line)
        except ValueError as problem:
            problems.append(f"{path}: secret {number}: {problem}")
    return good
