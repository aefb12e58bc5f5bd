"""The folder of secrets: a file per sender, a secret a line, read again when a file changes."""

from __future__ import annotations

import base64
import errno
import hashlib
import logging
import os
import re
import secrets as randomness
import stat
import threading
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.errors import ConfigurationError
from greenlight.lib.files import files_of, fsync_directory, make_folder, private
from greenlight.lib.signing import key_of
from greenlight.telemetry import metrics

LOOK_EVERY = 1.0
"""Seconds between two looks at the folder; a rotated secret is in force within 10 s, as promised."""

FOLDER = "*"
"""Stands for the folder itself among the names of its files."""

MAX_BYTES = 64 << 10
"""Of one file."""

LOG = logging.getLogger("greenlight.secrets")

_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]*"
_SCOPE = r"(?:@[A-Za-z0-9_.-]+(?:\+[A-Za-z0-9_.-]+)?)?"


@dataclass(frozen=True, slots=True)
class Files:
    """How a provider's files of secrets are called, and what they hold: `github`, or `gate-NAME` for each of many senders."""

    name: str
    word: str = ""  # what stands for the sender's name in messages, NAME; empty: there is one file
    standard: bool = False  # whether its secrets have the form of Standard Webhooks, whsec_…

    def __str__(self) -> str:
        return self.of(self.word)

    def of(self, sender: str) -> str:
        """Return the file of one sender."""
        return f"{self.name}-{sender}" if self.word else self.name

    def has(self, file: str) -> bool:
        """Tell whether the file of that name, without its scope, is one of these."""
        return re.fullmatch(f"{re.escape(self.name)}-{_NAME}" if self.word else re.escape(self.name), file) is not None


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
        """Tell whether a body about `repo` (lower case) may be signed with it."""
        return self.scope is None or repo == self.scope or repo.startswith(f"{self.scope}/")

    def used(self, times: int = 1) -> None:
        """Count right signatures, so that one sees when an old secret has gone silent."""
        metrics.SECRETS.labels(self.file, self.label).inc(times)


@dataclass(frozen=True, slots=True)
class _File:
    """What is known of one file."""

    name: str
    sender: str
    secrets: Sequence[Secret]  # in force
    mark: tuple[int, int, int] | None = None  # of what they were read from; None: it is to be read again
    spoiled: str | None = None  # what is wrong in what was read


class Secrets:
    """The secrets in force, by what was last read of each file.

    A file without one stops the start; one that is emptied or removed later speaks for nobody. What cannot be read (the
    folder, a file) or is spoiled keeps what was last right of it, and is reported: once in the log, and by a metric for as
    long as it lasts.
    """

    def __init__(self, folder: Path, kinds: Sequence[Files], clock: Clock | None = None) -> None:
        """Read the folder, whose files are of those kinds. ConfigurationError names every file that is wrong."""
        self._folder, self._kinds, self._clock = folder, kinds, clock or SystemClock()
        self._lock = threading.Lock()
        self._place: tuple[int, int] | None = None
        self._files: Mapping[str, _File] = {}
        self._problems: Mapping[str, str] = {}
        try:
            self._take(*self._read())
        except OSError as error:
            raise ConfigurationError(
                f"{folder}: {error.strerror}. Make it with a file per sender: {', '.join(map(str, kinds))}"
            ) from error
        problems = [*self._problems.values(), *(_empty(folder / name) for name in self._emptied())]
        if problems:
            raise ConfigurationError("\n".join(problems))
        self._looked = self._clock.monotonic()

    def of(self, sender: str) -> Sequence[Secret]:
        """Return the live secrets of a sender, such as `github` or `gate-NAME`; empty for one without any."""
        self.refresh()
        return [secret for file in self._files.values() if file.sender == sender for secret in file.secrets]

    def unread(self, sender: str) -> bool:
        """Tell whether there may be secrets of `sender` that were never read: then a wrong signature proves nothing."""
        mine = [file for file in self._files.values() if file.sender == sender]
        if any(file.name in self._problems and not file.secrets for file in mine):
            return True
        return FOLDER in self._problems and not any(file.secrets for file in mine)

    def away(self) -> bool:
        """Look now, and tell whether the folder cannot be read."""
        with self._lock:
            self._look()
        return FOLDER in self._problems

    def all(self) -> Sequence[Secret]:
        """Return every live secret."""
        self.refresh()
        return [secret for file in self._files.values() for secret in file.secrets]

    def refresh(self) -> None:
        """Read what has changed, once in LOOK_EVERY at most. Whoever asks for secrets does it by the way."""
        if self._clock.monotonic() - self._looked >= LOOK_EVERY and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()

    def _look(self) -> None:
        self._looked = self._clock.monotonic()
        try:
            files, problems = self._read()
        except OSError as error:
            files, problems = self._files, {**self._problems, FOLDER: _unreadable(self._folder, error)}
        problems_before, emptied_before = self._problems, self._emptied()
        self._take(files, problems)
        self._report(problems_before)
        for name in self._emptied() - emptied_before:
            LOG.warning("%s", _empty(self._folder / name))

    def _take(self, files: Mapping[str, _File], problems: Mapping[str, str]) -> None:
        self._files, self._problems = files, problems
        for secret in (secret for file in files.values() for secret in file.secrets):
            secret.used(0)  # a line that nobody uses is one that shows

    def _read(self) -> tuple[Mapping[str, _File], Mapping[str, str]]:
        """Read the files, and what is wrong by the name of its file. Raises OSError if the folder cannot be read."""
        found, paths = self._folder.stat(), sorted(self._folder.iterdir())
        place = (found.st_dev, found.st_ino)
        files, problems = {}, {}
        for path in paths:
            kind = _kind(path.name, self._kinds)
            if path.name.startswith(".") or (kind is None and path.is_dir()):
                continue  # a mounted Kubernetes Secret keeps its versions in hidden folders
            if kind is None:
                known = ", ".join(map(str, self._kinds))
                problems[path.name] = f"{path}: the name is none of {known}, with @OWNER or @OWNER+NAME"
                continue
            files[path.name], problem = _looked_at(path, kind, self._files.get(path.name))
            if problem is not None:
                problems[path.name] = problem
        if not files and self._files and self._place not in (None, place):
            raise FileNotFoundError(errno.ENOENT, "the folder that was here is gone, and an empty one is in its place")
        self._place = place
        return files, problems

    def _emptied(self) -> set[str]:
        """Find the files that were read and hold no secret."""
        return {name for name, file in self._files.items() if not file.secrets and name not in self._problems}

    def _report(self, before: Mapping[str, str]) -> None:
        """Log what is wrong now and was not `before`, and what is mended; set the metric."""
        now = self._problems
        for name in now.keys() | before.keys():
            metrics.SECRETS_UNREADABLE.labels(name).set(name in now)
            if name not in now:
                LOG.warning(
                    "secrets: nothing is wrong with %s any more",
                    self._folder if name == FOLDER else self._folder / name,
                )
            elif now[name] != before.get(name):
                LOG.error("secrets: %s. The last good ones stay in force until it is mended", now[name])


def create(folder: Path, senders: Sequence[str], kinds: Sequence[Files]) -> list[Path]:
    """Make the folder, and a secret for each sender that has no file; the files that are new, which are of those kinds.

    A file has its name once it is whole, and on the disk: an empty one would speak for nobody, and stop the next start.
    """
    make_folder(folder)
    made = []
    for sender in senders:
        path = folder / sender
        if any(file == path or file.name.startswith(f"{sender}@") for file in files_of(folder)):
            continue
        raw = randomness.token_bytes(32)
        kind = _kind(sender, kinds)
        text = "whsec_" + base64.b64encode(raw).decode("ascii") if kind is not None and kind.standard else raw.hex()
        partial = folder / f".{sender}.new"
        with open(partial, "w", encoding="ascii", opener=private) as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        made.append(path)
    if made:
        fsync_directory(folder)
    return made


def _kind(file: str, kinds: Sequence[Files]) -> Files | None:
    """Find the kind that a file is of, by its name; None: of none."""
    named = re.fullmatch(f"(?P<sender>[^@]+){_SCOPE}", file)
    return None if named is None else next((kind for kind in kinds if kind.has(named["sender"])), None)


def _looked_at(path: Path, kind: Files, before: _File | None) -> tuple[_File, str | None]:
    """Look at a file, and say what is wrong with it. `before` is what was last known of it, and stays where it is wrong."""
    kept = () if before is None else before.secrets
    sender, _, limits = path.name.partition("@")
    try:
        mark = _mark(path)
        if before is not None and before.mark == mark:
            return before, before.spoiled
        lines, wrong = _lines(_content(path), kind)
    except OSError as error:
        return _File(path.name, sender, kept), _unreadable(path, error)
    scope = limits.replace("+", "/").lower() or None
    secrets = tuple(Secret(line, path.name, scope) for line in lines)
    if not wrong:
        return _File(path.name, sender, secrets, mark), None
    spoiled = f"{path}: {'; '.join(wrong)}"
    right = (*secrets, *(secret for secret in kept if secret not in secrets))
    return _File(path.name, sender, right, mark, spoiled), spoiled


def _mark(path: Path) -> tuple[int, int, int]:
    """Get what changes whenever the file is written or replaced. Raises OSError."""
    found = path.stat()
    return found.st_ctime_ns, found.st_size, found.st_ino


def _content(path: Path) -> bytes:
    """Read the file, at most a byte more than MAX_BYTES. Raises OSError; does not wait at a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        return file.read(MAX_BYTES + 1)


def _lines(raw: bytes, kind: Files) -> tuple[list[bytes], list[str]]:
    """Find the secrets of a file, and what is wrong in it. A line ends in LF or CRLF; one of white space is blank."""
    if len(raw) > MAX_BYTES:
        return [], [f"is larger than {MAX_BYTES >> 10} KiB, so it is no file of secrets"]
    if raw.startswith(BOM_UTF8) or b"\0" in raw or not _is_utf_8(raw):
        return [], ["has a byte order mark, NUL bytes or what is no UTF-8: save it as text in UTF-8"]
    lines = [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    lines = [line for line in lines if line.strip()]
    if not kind.standard:
        return lines, []
    good, wrong = [], []
    for number, line in enumerate(lines, 1):
        try:
            key_of(line)
            good.append(line)
        except ValueError as problem:
            wrong.append(f"secret {number}: {problem}")
    return good, wrong


def _is_utf_8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _empty(path: Path) -> str:
    return f"{path}: holds no secret, and so speaks for nobody. Write one a line, or remove the file"


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be read: {error.strerror}"
