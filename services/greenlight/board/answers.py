"""The properties of every answer to a GET: an ETag, for whom it may be kept, and gzip for readers of gzip."""

from __future__ import annotations

import gzip
from base64 import urlsafe_b64encode
from hashlib import sha256

from flask import Response, request

PREFIX = "/api/v1/"
WORTHWHILE = 1024
"""Bytes below which an answer of the API is sent as it is."""


def etag_of(text: bytes) -> str:
    """Return the ETag of a body, weak because a compressed one has the same."""
    return urlsafe_b64encode(sha256(text).digest()[:15]).decode()


def packed(text: bytes) -> bytes:
    """Return a body in gzip."""
    return gzip.compress(text, 6, mtime=0)


def takes_gzip() -> bool:
    """Return whether the reader can read gzip."""
    return request.accept_encodings.quality("gzip") > 0


def is_known(response: Response, etag: str) -> bool:
    """Name a response's content for later requests; return whether the reader has it, and the answer is then a 304."""
    _for_one_reader(response)
    response.set_etag(etag, weak=True)
    if not request.if_none_match.contains_weak(etag):
        return False
    response.status_code, response.data = 304, b""
    return True


def finished(response: Response) -> Response:
    """Return an answer as it is sent: to a GET of the API with an ETag, shortened where the reader allows it."""
    if request.method not in ("GET", "HEAD") or not request.path.startswith(PREFIX):
        return response
    if response.status_code != 200:
        _for_one_reader(response)
        return response
    text = response.get_data()
    if not is_known(response, etag_of(text)) and len(text) > WORTHWHILE and takes_gzip():
        response.data, response.headers["Content-Encoding"] = packed(text), "gzip"
    return response


def _for_one_reader(response: Response) -> None:
    """Let no proxy store an answer, and a browser only to ask whether it is still the same."""
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept-Encoding, Cookie, Authorization"
