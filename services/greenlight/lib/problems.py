"""The answer to a request that did not end well: application/problem+json (RFC 9457), in one place for every Flask app."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from flask import Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from greenlight.lib.errors import NO_ROUTE, PROBLEM, Problem, problem_json

RETRY_AFTER = 5
"""Seconds after which a sender may try again what a dependency that is down did not let through."""


def problem_response(status: int, detail: str, headers: Mapping[str, str] | None = None, **members: str) -> Response:
    """Return an answer with an error. A 503 says when to try again, a 401 how to authenticate, unless `headers` do."""
    response = Response(problem_json(status, detail, **members), status=status, mimetype=PROBLEM, headers=headers)
    if status == 503:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER))
    return response


def refusal(problem: Exception, log: logging.Logger) -> Response:
    """Return the answer to what a request raised: with the exception's own status, or Flask's; else 500, and a log entry."""
    if isinstance(problem, Problem):
        return problem_response(problem.status, str(problem))
    if isinstance(problem, NotFound):
        detail = "there is no such address: check its path, and which of Greenlight's ports it is for"
        return problem_response(404, detail, reason=NO_ROUTE)
    if isinstance(problem, HTTPException):
        return problem_response(problem.code or 500, problem.description or problem.name, allowed(problem))
    log.error("internal error", exc_info=problem)
    return problem_response(500, f"the {log.name.rpartition('.')[2]}'s log has the details")


def allowed(problem: HTTPException) -> dict[str, str]:
    """Return the Allow header that a 405 must have (RFC 9110, 15.5.6)."""
    if not isinstance(problem, MethodNotAllowed) or not problem.valid_methods:
        return {}
    return {"Allow": ", ".join(sorted(problem.valid_methods))}
