"""Errors as pages, for browsers."""

from __future__ import annotations

from flask import Response, render_template, request

from greenlight.lib.errors import PROBLEM

_FOR_PROGRAMS = ("/api/", "/metrics", "/healthz", "/readyz")


def is_for_people() -> bool:
    """Return whether the request comes from a browser that shows a page: the API and its like answer JSON in any case."""
    if request.path.startswith(_FOR_PROGRAMS):
        return False
    return (
        request.accept_mimetypes.best_match([PROBLEM, "application/json", "text/html"], "application/json")
        == "text/html"
    )


def error_page(response: Response) -> Response:
    """Return an answer with an error as a page with what happened, to what, and what to do next; the headers stay."""
    problem = response.get_json(force=True, silent=True)
    if not isinstance(problem, dict):
        return response
    if "part" in request.args:
        response.data = b""  # an open page says by itself that it got no answer
        return response
    text = render_template(
        "error.html", frame="base.html", live=None, status=response.status_code, title=problem["title"],
        detail=problem.get("detail") or problem["title"],
    )  # fmt: skip
    response.data, response.content_type = text.encode(), "text/html; charset=utf-8"
    return response
