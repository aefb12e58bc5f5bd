"""The repository of the current folder, as git knows it. Only git's configuration and HEAD are read; no hook runs."""

from __future__ import annotations

import re
import subprocess

_PATH = re.compile(r"(?:[a-z+]+://[^/\s]+/|[^/:\s]+:/?)([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(?:\.git)?/?")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

TIMEOUT = 5.0
"""Seconds that git may take."""


def origin() -> str | None:
    """Return OWNER/NAME of the remote `origin`; None: there is no git, no repository, no such remote, or another form."""
    return repository_of(_git("config", "--get", "remote.origin.url"))


def head() -> str | None:
    """Return the commit that is checked out; None: there is none."""
    sha = _git("rev-parse", "--verify", "--quiet", "HEAD")
    return sha if _SHA.fullmatch(sha) else None


def repository_of(url: str) -> str | None:
    """Return OWNER/NAME of a remote's address: https://…, ssh://…, or HOST:OWNER/NAME; None for any other."""
    found = _PATH.fullmatch(url)
    return found[1] if found is not None else None


def _git(*words: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed argument list, without a shell
            ["git", *words],  # noqa: S607 - the git that the person uses
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""
