"""Secrets stay out of what people read."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from urllib.parse import quote

HIDDEN = "[secret]"
SHORTEST = 6
"""Characters: a shorter value would hide half of every text."""

# Shapes of well-known tokens. Each is a prefix and a bounded run of one class, so matching is linear.
_SHAPES = re.compile(
    r"gh[opsur]_[A-Za-z0-9]{20,255}"
    r"|github_pat_[A-Za-z0-9_]{20,255}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,255}"
    r"|whsec_[A-Za-z0-9+/=]{16,255}"
    r"|gl_[A-Za-z0-9_-]{20,255}"
    r"|(?i:bearer) [A-Za-z0-9._~+/=-]{8,4096}"
    r"|eyJ[A-Za-z0-9_-]{10,4096}\.[A-Za-z0-9_-]{4,4096}\.[A-Za-z0-9_-]{4,4096}"
)
_URL_PASSWORD = re.compile(r"(\w{1,20}://[^\s/:@]{1,256}):[^\s/@]{1,256}@")
_PEM = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?")


class Scrubber:
    """Replaces known secrets, also in base64 and in URLs, and what looks like a token, by `[secret]`."""

    def __init__(self, secrets: Iterable[str] = (), live: Callable[[], Iterable[str]] = tuple) -> None:
        """`live` says which secrets there are now; those that there were stay hidden, since what runs may have them."""
        self._secrets, self._live = {*secrets, *live()}, live
        self._known = _pattern(self._secrets)

    def also(self, secrets: Iterable[str]) -> Scrubber:
        """A scrubber that knows these secrets too."""
        return Scrubber([*self._secrets, *secrets], self._live)

    def __call__(self, text: str) -> str:
        """`text` without secrets."""
        if new := set(self._live()) - self._secrets:
            self._secrets |= new
            self._known = _pattern(self._secrets)
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        text = _PEM.sub(HIDDEN, text)
        text = _SHAPES.sub(HIDDEN, text)
        return _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else None


def _forms(secret: str) -> Iterable[str]:
    raw = secret.encode()
    yield secret
    yield quote(secret, safe="")
    yield base64.b64encode(raw).decode().rstrip("=")
    yield base64.urlsafe_b64encode(raw).decode().rstrip("=")
