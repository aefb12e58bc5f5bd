"""The description of the API in OpenAPI 3.1, written by hand in the files beside this one.

`document.yaml` has what all routes share, `schemas.yaml` the schemas of responses, and each other file the paths of one part.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PARTS = ("commits", "targets", "broker", "installation")
_FOLDER = Path(__file__).parent


@cache
def document() -> dict[str, Any]:
    """Return the description. It is read once; do not change it."""
    found = _read("document")
    found["components"]["schemas"] = _read("schemas")
    found["paths"] = {path: item for part in PARTS for path, item in _read(part).items()}
    every = found.pop("x-every")
    for item in found["paths"].values():
        for method, operation in item.items():
            operation["responses"] = {**operation["responses"], **every[method], **every["all"]}
    return found


@cache
def text() -> str:
    """Return the description in JSON."""
    return json.dumps(document(), ensure_ascii=False)


def _read(name: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), loader)  # noqa: S506
    return found
