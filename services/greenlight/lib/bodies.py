"""The body of a request that changes something: one JSON object, read strictly."""

from __future__ import annotations

from typing import Any

from flask import request

from greenlight.lib.errors import Malformed
from greenlight.lib.strictjson import BadJson, loads

LONGEST_TEXT = 2000
"""Characters of a text in a body."""


def json_object() -> dict[str, Any]:
    """Return the body of this request; nothing is an object without members. Raises Malformed.

    Only a script can send this content type to another site, and a browser asks that site before.
    """
    if request.mimetype != "application/json":
        raise Malformed("send a JSON object, as application/json")
    try:
        body = loads(request.get_data() or b"{}")
    except BadJson as problem:
        raise Malformed(f"the body cannot be read as JSON: {problem}") from None
    if not isinstance(body, dict):
        raise Malformed("the body is not a JSON object")
    return body
