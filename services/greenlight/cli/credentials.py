"""Tokens that `greenlight login` keeps: by the address of the board, in the user's configuration folder.

The file is for its owner alone (0600, its folder 0700), and is replaced in one step.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from greenlight.lib.files import fsync_directory, make_folder, private


class ReadableByOthers(Exception):
    """Other users can read the file, so that nothing in it is a secret. The message says what to do."""


def file_of(env: Mapping[str, str]) -> Path:
    """Return where the tokens are: $XDG_CONFIG_HOME/greenlight, else ~/.config/greenlight."""
    configured = env.get("XDG_CONFIG_HOME", "")
    folder = Path(configured) if configured.startswith("/") else Path(env.get("HOME") or Path.home()) / ".config"
    return folder / "greenlight" / "tokens.json"


def token_for(url: str, env: Mapping[str, str]) -> str | None:
    """Return the token for the board at `url`; None without one.

    Raises ReadableByOthers, OSError, ValueError for a spoiled file.
    """
    return _read(file_of(env)).get(url)


def keep(url: str, token: str | None, env: Mapping[str, str]) -> bool:
    """Keep the token for a board, or forget it; return whether there was one. Raises as token_for does."""
    path = file_of(env)
    tokens = _read(path)
    had = tokens.pop(url, None) is not None
    if token is None and not had:
        return False
    if token is not None:
        tokens[url] = token
    make_folder(path.parent)
    path.parent.chmod(0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(fresh, "w", encoding="utf-8", opener=private) as file:
        json.dump(tokens, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    fsync_directory(path.parent)
    return had


def _read(path: Path) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ReadableByOthers(f"other users can read {path}: chmod 600 it, and have its tokens replaced")
            found = json.load(file)
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise ValueError(f"{path} holds no tokens by address: remove it, and log in again")
    return found
