"""The watcher of manifests, which loads them again when operators edit them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from greenlight.broker.manifests import load_folder, manifest_files
from greenlight.broker.trigger_spec import Manifests
from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import ConfigurationError
from greenlight.lib.watched import Messages, Watched, stamp_of

LOOK_EVERY = 0.5
"""Seconds between two looks. A change counts once two looks agree."""

MESSAGES = Messages(
    unreadable="the edited manifests cannot be taken up now, and will be: ",
    wrong="the edited manifests are wrong, those before stay in force:\n",
    failed="the edited manifests cannot be taken up now, and will be: ",
)

_log = logging.getLogger("greenlight.broker")


class ManifestWatcher:
    """Call `change` with the Brokers and Triggers of `folders` whenever they differ from those of the last call.

    `change` returns the Triggers that have to wait, and is called again until there are none. Wrong manifests change nothing;
    the log says what is wrong with them.
    """

    def __init__(self, folders: Sequence[Path], change: Callable[[Manifests], set[str]]) -> None:
        """Read the manifests. Raises ConfigurationError."""
        self._change = change
        self._files = Watched(
            MESSAGES,
            lambda: stamp_of(file for folder in folders for file in manifest_files(folder)),
            lambda: load_folder(*folders),
            SystemClock(),
            _log,
            every=LOOK_EVERY,
            settle=lambda: True,
        )
        self._files.on_change(self._take_up)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker manifests", daemon=True)

    @property
    def manifests(self) -> Manifests:
        """Return the manifests that were read last without an error."""
        return self._files()

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
        self._files.look()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY):
            self.look()

    def _take_up(self, manifests: Manifests) -> None:
        try:
            waiting = self._change(manifests)
        except ConfigurationError as problem:
            _log.error("%s%s", MESSAGES.wrong, problem)
            return
        names = ", ".join(trigger.key for trigger in manifests.triggers if trigger.key not in waiting) or "none"
        _log.info("the edited manifests are in force; Triggers: %s", names)
        for key in sorted(waiting):
            _log.info("Trigger %s waits until what is pending for the one before it has become dead letters", key)
        if waiting:
            self._files.again()
