"""One process owns a file: an operating system's lock, which dies with its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from greenlight.lib.files import private
from greenlight.store.errors import Locked


def own(path: Path) -> int:
    """Return a descriptor that holds the lock of `path` (PATH.lock, with our pid in it) until it is closed.

    Raises Locked.
    """
    lock = path.with_name(path.name + ".lock")
    descriptor = private(str(lock), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        who = f"process {holder}" if holder else "another process"
        raise Locked(f"{path} is in use by {who}: stop it first, or choose another data folder") from None
    except OSError:
        os.close(descriptor)
        raise
    # The file stays when the lock goes: to unlink it would let two owners lock two files of one name.
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        pass  # the disk is full: the lock holds without our name in it
    return descriptor
