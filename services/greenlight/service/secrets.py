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
from codecs import BOM_UTF8
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.errors import ConfigurationError
from greenlight.lib.files import files_of, fsync_directory, make_folder, private
from greenlight.lib.signing import key_of
from greenlight.lib.watched import Messages, Watched, stamp_of
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
    """The names of a provider's files of secrets: `github`, or `gate-NAME` for each of many senders."""

    name: str
    word: str = ""  # what stands for the sender's name in messages, NAME; empty: there is one file
    standard: bool = False  # whether its secrets have the form of Standard Webhooks, whsec_…
    whole: bool = False  # whether the file is one secret, such as a key of many lines

    def __str__(self) -> str:
        return self.of(self.word)

    def of(self, sender: str) -> str:
        """Return the name of one sender's file."""
        return f"{self.name}-{sender}" if self.word else self.name

    def has(self, file: str) -> bool:
        """Return whether the file of that name, without its scope, is one of these."""
        return re.fullmatch(f"{re.escape(self.name)}-{_NAME}" if self.word else re.escape(self.name), file) is not None


LOGIN = Files("login", "NAME")
"""Client secrets of web logins: `login-oidc`, `login-github`."""

OWN = (Files("github-api"), Files("github-app", whole=True), Files("notify", "NAME"), LOGIN)
"""The files of secrets that Greenlight itself uses, and no sender: beside those of the senders in every folder."""


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret: a line of a file."""

    value: bytes
    file: str
    scope: str | None  # the owner, or owner/name, that it speaks for; None: for all

    @property
    def label(self) -> str:
        """Return a label that distinguishes the lines of a file without showing them."""
        return hashlib.sha256(self.value).hexdigest()[:8]

    def speaks_for(self, repo: str) -> bool:
        """Return whether the secret is valid for a body about `repo` (lower case)."""
        return self.scope is None or repo == self.scope or repo.startswith(f"{self.scope}/")

    def used(self, times: int = 1) -> None:
        """Count valid signatures, so that operators see when an old secret is no longer used."""
        metrics.SECRETS.labels(self.file, self.label).inc(times)


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of the folder, as it was last read."""

    place: tuple[int, int] | None = None  # tells it from another folder of that name
    files: Mapping[str, Sequence[Secret]] = field(default_factory=dict)  # in force, by the name of the file
    problems: Mapping[str, str] = field(default_factory=dict)  # what is wrong now, by the name of the file

    def of(self, sender: str) -> Mapping[str, Sequence[Secret]]:
        """Return the files of a sender."""
        return {name: secrets for name, secrets in self.files.items() if name.partition("@")[0] == sender}

    def without_secrets(self) -> set[str]:
        """Find the files that were read and hold no secret."""
        return {name for name, secrets in self.files.items() if not secrets and name not in self.problems}


class Secrets:
    """The secrets in force, by what was last read of each file.

    A file without one stops the start; one that is emptied or removed later authenticates no sender. What cannot be read (the
    folder, a file) or is spoiled keeps what was last right of it, is read again at each look, and is reported: once in the
    log, and by a metric for as long as it lasts.
    """

    def __init__(self, folder: Path, kinds: Sequence[Files], clock: Clock | None = None) -> None:
        """Read the folder, whose files are of those kinds. ConfigurationError names every file that is wrong."""
        self._folder, self._kinds, self._known = folder, (*kinds, *OWN), _Content()
        messages = replace(Messages.about("secrets"), in_force="")  # of what is wrong, `_take_up` says more
        self._files = Watched(messages, self._stamp, self._read, clock or SystemClock(), LOG, every=LOOK_EVERY)
        found = self._files()
        if FOLDER in found.problems:
            known = ", ".join(map(str, self._kinds))
            raise ConfigurationError(f"{found.problems[FOLDER]}. Make it with a file per sender: {known}")
        if problems := [*found.problems.values(), *(_empty(folder / name) for name in found.without_secrets())]:
            raise ConfigurationError("\n".join(problems))
        self._files.on_change(self._take_up)
        self._take_up(found)

    def of(self, sender: str) -> Sequence[Secret]:
        """Return the live secrets of a sender, such as `github` or `gate-NAME`; empty for one without any."""
        return [secret for secrets in self._files().of(sender).values() for secret in secrets]

    def unread(self, sender: str) -> bool:
        """Return whether there may be secrets of `sender` that were never read.

        Then a wrong signature proves nothing.
        """
        known, mine = self._known, self._known.of(sender)
        if any(name in known.problems and not secrets for name, secrets in mine.items()):
            return True
        return FOLDER in known.problems and not any(mine.values())

    def is_unreadable(self) -> bool:
        """Look now, and return whether the folder cannot be read."""
        self._files.look()
        return FOLDER in self._known.problems

    def all(self) -> Sequence[Secret]:
        """Return every live secret."""
        return [secret for secrets in self._files().files.values() for secret in secrets]

    def refresh(self) -> None:
        """Read what has changed, once in LOOK_EVERY at most. Asking for secrets does it, too."""
        self._files()

    def _stamp(self) -> Hashable:
        """Return what differs whenever a file does, or the folder is another. Raises OSError."""
        return _place(self._folder), stamp_of(sorted(self._folder.iterdir()))

    def _read(self) -> _Content:
        """Read the folder, and keep the last content of what cannot be read."""
        before = self._known
        try:
            place, paths = _place(self._folder), sorted(self._folder.iterdir())
            files, problems = {}, {}
            for path in paths:
                kind = _kind(path.name, self._kinds)
                if path.name.startswith(".") or (kind is None and path.is_dir()):
                    continue  # a mounted Kubernetes Secret keeps its versions in hidden folders
                if kind is None:
                    known = ", ".join(map(str, self._kinds))
                    problems[path.name] = f"{path}: the name is none of {known}, with @OWNER or @OWNER+NAME"
                    continue
                files[path.name], problem = _secrets_in(path, kind, before.files.get(path.name, ()))
                if problem:
                    problems[path.name] = f"{path}: {problem}"
            if before.files and not files and before.place != place:
                raise FileNotFoundError(
                    errno.ENOENT, "the folder that was here is gone, and an empty one is in its place"
                )
        except OSError as error:
            problem = f"{self._folder}: cannot be read: {error.strerror}"
            return replace(before, problems={**before.problems, FOLDER: problem})
        return _Content(place, files, problems)

    def _take_up(self, now: _Content) -> None:
        """Report what is wrong now and was not before, and what is valid again."""
        before, self._known = self._known, now
        for secret in (secret for secrets in now.files.values() for secret in secrets):
            secret.used(0)  # so that a line which no sender uses is in the metric, too
        for name in now.problems.keys() | before.problems.keys():
            metrics.SECRETS_UNREADABLE.labels(name).set(name in now.problems)
            if name not in now.problems:
                where = self._folder if name == FOLDER else self._folder / name
                LOG.warning("secrets: %s is valid again", where)
            elif now.problems[name] != before.problems.get(name):
                LOG.error("secrets: %s. The last valid ones stay in force until it is repaired", now.problems[name])
        for name in now.without_secrets() - before.without_secrets():
            LOG.warning("%s", _empty(self._folder / name))
        if now.problems:
            self._files.again()


def create(folder: Path, senders: Sequence[str], kinds: Sequence[Files]) -> list[Path]:
    """Make the folder, and a secret for each sender without a file; return the new files.

    A file has its name once it is whole, and on the disk: an empty one would authenticate no sender, and stop the next start.
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
    """Return the kind of a file, by its name; None: it is of none."""
    named = re.fullmatch(f"(?P<sender>[^@]+){_SCOPE}", file)
    return None if named is None else next((kind for kind in kinds if kind.has(named["sender"])), None)


def _place(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _secrets_in(path: Path, kind: Files, kept: Sequence[Secret]) -> tuple[Sequence[Secret], str]:
    """Return the secrets of a file, and what is wrong with it; then those that were right before are `kept` beside them."""
    try:
        lines, wrong = _lines(_content(path), kind)
    except OSError as error:
        return kept, f"cannot be read: {error.strerror}"
    scope = path.name.partition("@")[2].replace("+", "/").lower() or None
    secrets = [Secret(line, path.name, scope) for line in lines]
    if wrong:
        secrets += [secret for secret in kept if secret not in secrets]
    return secrets, "; ".join(wrong)


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
    if kind.whole:
        return [raw.strip()] if raw.strip() else [], []
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
    return f"{path}: holds no secret, so it makes no webhook valid. Write one secret a line, or remove the file"
