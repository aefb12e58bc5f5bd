"""Work that is done a moment later, in a thread of its own, so that no caller waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Later:
    """Call `work` after `due`, at most once in `delay` seconds, and once more at the end. `work` raises nothing."""

    def __init__(self, work: Callable[[], None], name: str, delay: float) -> None:
        self._work, self._delay = work, delay
        self._due, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def due(self) -> None:
        """Ask for the work. It costs next to nothing if it was asked for already."""
        if not self._due.is_set():
            self._due.set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Do what is left, and wait for that for `timeout` seconds at most."""
        self._stopping.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._due.wait()
            self._stopping.wait(self._delay)
            self._due.clear()
            self._work()
        self._work()
