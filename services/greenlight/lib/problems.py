"""Errors as they are told over HTTP: application/problem+json (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from flask import Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from greenlight.lib.errors import PROBLEM, problem_json

Statuses = Sequence[tuple[type[Exception], int, str]]
"""What an exception is in HTTP: its status and title. The first that fits counts."""


def problem_response(
    status: int,
    title: str,
    detail: str,
    *,
    retry_after: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`detail` says what happened, to what, and what to do; `retry_after` in seconds."""
    response = Response(problem_json(status, title, detail), status=status, mimetype=PROBLEM, headers=headers)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def refusal(problem: Exception, statuses: Statuses, log: logging.Logger) -> Response:
    """The answer for whatever a request raised: as `statuses` say, or as Flask does; anything else is an error of ours."""
    for kind, status, title in statuses:
        if isinstance(problem, kind):
            return problem_response(status, title, str(problem), retry_after=5 if status == 503 else None)
    if isinstance(problem, HTTPException):
        detail = problem.description or problem.name
        return problem_response(problem.code or 500, problem.name, detail, headers=allowed(problem))
    log.error("an error of ours", exc_info=problem)
    name = log.name.rpartition(".")[2]
    return problem_response(500, "an error of ours", f"the {name}'s log has the details")


def allowed(problem: HTTPException) -> dict[str, str]:
    """Make the Allow header that a 405 must have (RFC 9110, 15.5.6)."""
    if not isinstance(problem, MethodNotAllowed) or not problem.valid_methods:
        return {}
    return {"Allow": ", ".join(sorted(problem.valid_methods))}
