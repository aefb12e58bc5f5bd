"""Signals and the log of a program in the foreground."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import sys
import threading
from types import FrameType

from greenlight.lib.printable import OneRecord


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM, SIGINT and SIGHUP set: a terminal that is closed is a stop in order, too.

    A SIGHUP that is ignored stays so, as `nohup` wants it. Call it in the main thread.
    """
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)
    return stopping


def log_to_stderr(level: int = logging.INFO) -> logging.Logger:
    """Return the log of this process; it has all messages of Greenlight from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneRecord())
    log = logging.getLogger("greenlight")
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
    logging.basicConfig(level=logging.WARNING, handlers=[handler])  # what libraries warn of
    return log


def announce(text: str) -> None:
    """Print what a person reads at a start. A standard output that is closed or full keeps nothing from starting."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as problem:
        logging.getLogger("greenlight").warning("standard output cannot be written: %s", problem.strerror)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it would fail the exit


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address, without port and brackets, is this machine's loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
