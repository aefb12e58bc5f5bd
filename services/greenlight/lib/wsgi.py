"""Parts of a request from its WSGI environ (PEP 3333), for servers without a framework."""

from __future__ import annotations

from functools import lru_cache
from wsgiref.types import WSGIEnvironment


def headers_of(environ: WSGIEnvironment) -> dict[str, str]:
    """Return the headers by lower-case name; a Content-Type only if there is one."""
    found = {_name(key): value for key, value in environ.items() if key.startswith("HTTP_")}
    if environ.get("CONTENT_TYPE"):
        found["content-type"] = environ["CONTENT_TYPE"]
    return found


@lru_cache(maxsize=1024)  # a few names, in every request
def _name(key: str) -> str:
    return key[5:].replace("_", "-").lower()


def length_of(environ: WSGIEnvironment) -> int | None:
    """Return the Content-Length; None if there is none, or it is not a number."""
    text = environ.get("CONTENT_LENGTH") or ""
    return int(text) if text.isascii() and text.isdecimal() else None


def media_type_of(environ: WSGIEnvironment) -> str:
    """Return the media type in lower case, without its parameters; empty if there is none."""
    text: str = environ.get("CONTENT_TYPE") or ""
    return text.partition(";")[0].strip().lower()


def coding_of(environ: WSGIEnvironment) -> str:
    """Name the content codings that the body was packed with (RFC 9110, 8.4); empty if it is as it is."""
    text: str = environ.get("HTTP_CONTENT_ENCODING") or ""
    codings = [coding.strip() for coding in text.split(",")]
    return ", ".join(coding for coding in codings if coding.lower() not in ("", "identity"))
