"""Helm's environment for a cluster that no kubeconfig describes."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import weakref
from collections.abc import Mapping


def helm_environment(server: str, authority: str, token: str) -> Mapping[str, str]:
    """Return the variables by which Helm reaches `server`, trusts the file `authority`, and authenticates by `token`.

    The kubeconfig is an empty one, because Helm adds whatever it finds in one to the rest.
    """
    return {
        "KUBECONFIG": os.devnull,
        "HELM_KUBEAPISERVER": server,
        "HELM_KUBECAFILE": authority,
        "HELM_KUBETOKEN": token,
    }


class AuthorityFile:
    """Keep certificates to trust as the file that Helm wants. The file is there as long as this object is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: tuple[bytes, str] | None = None

    def path(self, authority: bytes) -> str:
        """Return the name of a file with these certificates (PEM)."""
        with self._lock:
            if self._file is None or self._file[0] != authority:
                descriptor, name = tempfile.mkstemp(prefix="greenlight-ca-", suffix=".pem")
                weakref.finalize(
                    self, _unlink, name
                )  # not before: a Helm that has begun may still read the previous one
                with os.fdopen(descriptor, "wb") as file:
                    file.write(authority)
                self._file = (authority, name)
            return self._file[1]


def _unlink(name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name)
