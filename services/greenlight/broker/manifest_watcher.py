"""Loads manifests again when operators edit them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from greenlight.broker.manifests import load_folder, manifest_files
from greenlight.broker.trigger_spec import Manifests
from greenlight.lib.errors import ConfigurationError, Unavailable, UnreadableFile

LOOK_EVERY = 0.5
"""Seconds between two looks. A change counts once two looks agree: an editor may still be writing."""

Stamp = tuple[tuple[str, int, int, int], ...]

_log = logging.getLogger("greenlight.broker")


class ManifestWatcher:
    """Calls `change` with the Brokers and Triggers of `folders` whenever they differ from those of the last call.

    `change` returns the Triggers that have to wait, and is called again until there are none. Wrong manifests change nothing;
    the log says what is wrong with them.
    """

    def __init__(self, folders: Sequence[Path], change: Callable[[Manifests], set[str]]) -> None:
        self._folders = folders
        self._change = change
        self._applied = self._seen = stamp(folders)
        self._waiting = False
        self._reason = ""  # why the edited manifests could not be taken up at the last look, which is logged once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker manifests", daemon=True)

    def start(self) -> None:
        """Begin looking."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Look once."""
        try:
            now = stamp(self._folders)
        except OSError as problem:
            self._log_once(problem)
            return
        settled, self._seen = now == self._seen, now
        if settled and (now != self._applied or self._waiting):
            self._applied, self._waiting = now, False
            self._load()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY):
            self.look()

    def _load(self) -> None:
        try:
            manifests = load_folder(*self._folders)
            waiting = self._change(manifests)
        except (OSError, UnreadableFile, Unavailable) as problem:
            self._log_once(problem)
            self._waiting = True
            return
        except ConfigurationError as problem:
            _log.error("the edited manifests are wrong, those before stay in force:\n%s", problem)
            return
        self._reason = ""
        self._waiting = bool(waiting)
        names = ", ".join(trigger.key for trigger in manifests.triggers if trigger.key not in waiting) or "none"
        _log.info("the edited manifests are in force; Triggers: %s", names)
        for key in sorted(waiting):
            _log.info("Trigger %s waits until what is pending for the one before it has become dead letters", key)

    def _log_once(self, problem: Exception) -> None:
        """Log once why the manifests cannot be taken up now."""
        if str(problem) != self._reason:
            _log.warning("the edited manifests cannot be taken up now, and will be: %s", problem)
        self._reason = str(problem)


def stamp(folders: Sequence[Path]) -> Stamp:
    """Return what differs between two states of the files. Raises OSError if a folder cannot be read."""
    found = []
    for folder in folders:
        for path in manifest_files(folder):
            try:
                stat = path.stat()
            except OSError:  # it went away between the two
                continue
            found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
