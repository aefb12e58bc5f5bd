"""Helm keeps fields as the cluster has them: its manifests pass through the program `kept`, as a post-renderer.

Helm 4 takes post-renderers as plugins only (pkg/postrenderer, plugin type postrenderer/v1): a folder with a description,
written once. HELM_NO_PLUGINS keeps all others out, and leaves post-renderers alone, which are asked for by name.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greenlight.deployer.drivers.helm import kept_fields

PLUGIN = "greenlight-kept"

# Helm splits a command at spaces before it puts variables in, so that what may have spaces has to be one.
_DESCRIPTION = {
    "apiVersion": "v1",
    "type": "postrenderer/v1",
    "name": PLUGIN,
    "version": "1.0.0",
    "runtime": "subprocess",
    "runtimeConfig": {"platformCommand": [{"command": "${GREENLIGHT_PYTHON}", "args": ["-P", "${GREENLIGHT_KEPT}"]}]},
}


def install(data: Path, env: Mapping[str, str]) -> Mapping[str, str]:
    """Write the plugin below Helm's data folder; return the variables that Helm needs for it."""
    folder = data / "plugins" / PLUGIN
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    text, file = json.dumps(_DESCRIPTION), folder / "plugin.yaml"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        whole = folder / f".plugin.{os.getpid()}"
        whole.write_text(text, encoding="utf-8")
        os.replace(whole, file)
    python = (
        {"PYTHONPATH": env["PYTHONPATH"]} if env.get("PYTHONPATH") else {}
    )  # as it is found here, it is found there
    return {**python, "GREENLIGHT_PYTHON": sys.executable, "GREENLIGHT_KEPT": str(Path(kept_fields.__file__).resolve())}


def arguments(fields: Mapping[str, Any] | None, file: Path) -> Sequence[str]:
    """Return Helm's arguments for the kept fields, which are written to a file; none where nothing is kept."""
    if fields is None:
        return []
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        json.dump(fields, out)
    return ["--post-renderer", PLUGIN, "--post-renderer-args", str(file.resolve())]
