"""Errors as they are told over HTTP: application/problem+json (RFC 9457)."""

from __future__ import annotations

import json

from flask import Response


def problem_response(status: int, title: str, detail: str, *, retry_after: int | None = None) -> Response:
    """`detail` says what happened, to what, and what to do; `retry_after` in seconds."""
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}, ensure_ascii=False)
    response = Response(body, status=status, mimetype="application/problem+json")
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response
