"""The values that an attribute may have by the specification, and those that every SDK reads alike."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

AttributeValue = str | int | bool
"""What an extension attribute may be: a String, an Integer (32 bit) or a Boolean of the specification's type system."""

REQUIRED = ("id", "source", "type")
OPTIONAL = ("subject", "time", "datacontenttype", "dataschema")
CONTEXT = frozenset((*REQUIRED, *OPTIONAL, "specversion"))
MAX_NAME = 64

# SDKs disagree about percent-encoding, and a Trigger sees what the wire has, so attributes stay where all agree:
# printable ASCII without space, double quote and percent.
_SAFE = re.compile(r"[!#$&-~]{1,256}")
_NAME = re.compile(r"[a-z0-9]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_URI_REFERENCE = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%\u00a0-\U0010ffff]+")
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}(?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|\"[^\"\\\x00-\x1f]*\"))*[ \t]*;?")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-](\d\d):(\d\d))", re.ASCII
)  # RFC 3339, section 5.6


def safe(value: AttributeValue) -> bool:
    """Return whether every SDK and every Trigger filter sees the same `value`.

    An unsafe value is left out, never escaped.
    """
    return not isinstance(value, str) or _SAFE.fullmatch(value) is not None


def is_name(name: str) -> bool:
    """Return whether `name` is valid for an attribute.

    Valid are lower-case ASCII letters and digits (CloudEvents 1.0, naming conventions).
    """
    return len(name) <= MAX_NAME and _is_name(name)


@lru_cache(maxsize=1024)  # a few names, in every event
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name != "data"


def has_control(text: str) -> bool:
    """Return whether `text` has what the type system forbids in a String: control characters, lone surrogates."""
    return _CONTROL.search(text) is not None


def is_uri_reference(text: str) -> bool:
    """Return whether `text` has the form of a URI-reference.

    It has no white space, quotes or brackets that a URI cannot have.
    """
    return _URI_REFERENCE.fullmatch(text) is not None


def is_absolute_uri(text: str) -> bool:
    """Return whether `text` has the form of a URI with a scheme."""
    return is_uri_reference(text) and _ABSOLUTE_URI.fullmatch(text) is not None


def is_media_type(text: str) -> bool:
    """Return whether `text` is a media type (RFC 2046) with parameters."""
    return len(text) <= 256 and _MEDIA_TYPE.fullmatch(text) is not None


def is_json(datacontenttype: str | None) -> bool:
    """Return whether data of that type is JSON; absent means JSON (CloudEvents 1.0, JSON event format 3.1)."""
    if datacontenttype is None:
        return True
    media = datacontenttype.partition(";")[0].strip().lower()
    return media.endswith(("/json", "+json"))


def is_time(text: str) -> bool:
    """Return whether `text` is an RFC 3339 timestamp; 60 seconds are a leap second, and valid."""
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    year, month, day, hour, minute, second, *offset = (int(part or 0) for part in match.groups())
    try:
        date(max(year, 1), month, day)
    except ValueError:
        return False
    return hour < 24 and minute < 60 and second <= 60 and offset[0] < 24 and offset[1] < 60
