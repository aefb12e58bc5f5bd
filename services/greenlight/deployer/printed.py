"""The output of a deployment that still runs: lines of its driver, and what its process writes into a file.

The file is read without secrets, and only in whole lines. A secret that is printed in two pieces would be seen in its
first one, so a line is read once it has ended, and one that ends within a secret once the next line has, too. Secrets over
several lines are found because each part is scrubbed together with the text before it.
"""

from __future__ import annotations

import threading
from itertools import takewhile
from pathlib import Path

from greenlight.lib.scrub import Scrubber

CONTEXT = 16 * 1024
"""Bytes before a new part that are scrubbed together with it."""

PART = 256 * 1024
"""Bytes that are read at once; a longer line is left out."""

HELD = 8
"""Lines one after the other that may each end within a secret and wait for the next: so that none costs much to look at."""

TOO_LONG = "[a line that is too long to be shown]"


class Printed:
    """The output of one try, as far as it was read. `text` is its end, `total` counts all of its characters."""

    def __init__(self, scrub: Scrubber, keep: int) -> None:
        """Keep the last `keep` characters. The lines of `say` are scrubbed by `scrub`, those of a file by its own."""
        self._scrub_said, self._keep = scrub, keep
        self._scrub_file, self._path = scrub, Path()
        self._at = 0
        self._before = b""  # what was read last, with its secrets
        self._reading = threading.RLock()  # two deliveries may look at one deployment
        self.text, self.total = "", 0

    def follow(self, path: Path, scrub: Scrubber) -> None:
        """Read this file from its beginning from now on, after the rest of the one before."""
        with self._reading:
            self.finish()
            self._scrub_file, self._path, self._at, self._before = scrub, path, 0, b""

    def say(self, line: str) -> None:
        """Add a line of the driver's own."""
        with self._reading:
            begin = "\n" if self.text and not self.text.endswith("\n") else ""
            self._add(f"{begin}{self._scrub_said(line)}\n")

    def read(self) -> bool:
        """Read the lines that were printed since, as many as fit into one part; return whether there were any.

        A file that cannot be read now has nothing new.
        """
        with self._reading:
            return self._read(ended=False)

    def finish(self) -> None:
        """Read all that was printed since, once its process has ended: the last line needs no end."""
        with self._reading:
            while self._read(ended=True):
                pass

    def _read(self, *, ended: bool) -> bool:
        try:
            with open(self._path, "rb") as file:
                file.seek(self._at)
                part = file.read(PART)
        except OSError:
            return False
        lines = part[: part.rfind(b"\n") + 1]
        full = len(part) == PART
        if full or not ended:
            lines = self._without_begun_secret(lines) or (lines if full else b"")
        new = self._scrubbed(lines) if lines else ""
        if not lines and full:
            lines, new = part, TOO_LONG
        elif not lines and ended:
            lines, new = part, self._scrubbed(part)
        self._at += len(lines)
        self._before = (self._before + lines)[-CONTEXT:]
        self._add(new)
        return bool(lines)

    def _without_begun_secret(self, lines: bytes) -> bytes:
        """Return the lines without those at their end in which a secret may begin that the next line goes on with."""
        for _ in range(HELD):
            text = (self._before + lines).decode("utf-8", "replace")
            begun, at = self._scrub_file.begun(text) if lines else 0, len(text)
            if not begun:
                break
            while begun:
                at -= 1
                begun -= text[at] not in "\r\n"
            rest, *held = lines.rsplit(b"\n", text.count("\n", at) + 1)
            lines = rest + b"\n" if len(held) > text.count("\n", at) else b""
        return lines

    def _add(self, new: str) -> None:
        self.text, self.total = (self.text + new)[-self._keep :], self.total + len(new)

    def _scrubbed(self, part: bytes) -> str:
        """Return what scrubbing the part together with the text before it adds to that text."""
        before = self._scrub_file(self._before.decode("utf-8", "replace"))
        both = self._scrub_file((self._before + part).decode("utf-8", "replace"))
        if both.startswith(before):
            return both[len(before) :]
        return both[sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, both, strict=False))) :]
