"""The answers of pages: the whole page, or the part of it that an open page asks for again, with an ETag."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, g, render_template, request

from greenlight.board.answers import etag_of, is_known, packed, takes_gzip
from greenlight.board.pages.fresh import Fresh
from greenlight.service.people import Person

MINUTE = 60.0
"""Seconds for which a page is true while nothing happens: it says how many minutes ago something was."""

SOON = 2.0
"""The same while a deployment is under way, whose time runs."""


@dataclass(frozen=True, slots=True)
class Body:
    """A rendered page."""

    packed: bytes  # gzip: what nearly every browser takes, and a tenth of the memory
    etag: str
    lasts: float


class Pages:
    """Render pages for the person who asks. Each is made anew only when something in it may have changed."""

    def __init__(self, fresh: Fresh) -> None:
        self._fresh = fresh

    def show(self, template: str, read: Callable[[], Mapping[str, Any]], **more: Any) -> Response:
        """Answer with a page; `read` returns what the template needs, and `lasts` in seconds where that is not MINUTE.

        With the parameter `part`, only what changes of it. `304` if the browser has it already.
        """
        person: Person | None = g.person
        viewer = None if person is None else (person.id, person.groups, person.identities)
        part = "part" in request.args
        key = (request.full_path, viewer)
        body = self._fresh.get(
            key, lambda: _rendered(template, read(), part=part, **more), lasts=lambda result: result.lasts, patient=part
        )
        return answered(body)


def answered(body: Body) -> Response:
    """Return the body as the browser can take it, or nothing if it has it."""
    response = Response(content_type="text/html; charset=utf-8")
    if is_known(response, body.etag):
        return response
    if takes_gzip():
        response.data, response.headers["Content-Encoding"] = body.packed, "gzip"
    else:
        response.data = gzip.decompress(body.packed)
    return response


def _rendered(template: str, values: Mapping[str, Any], *, part: bool, **more: Any) -> Body:
    frame = "part.html" if part else "base.html"
    arguments = {key: value for key, value in request.args.items(multi=True) if key != "part"}
    text = render_template(template, frame=frame, arguments=arguments, **values, **more).encode()
    return Body(packed(text), etag_of(text), values.get("lasts", MINUTE))
