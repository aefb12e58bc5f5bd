"""Removal of secrets from what people read."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "[secret]"
SHORTEST = 6
"""Characters: a shorter value would hide half of every text."""

BEGINNING = 3
"""Characters at the end of a text that are taken for the beginning of a secret: fewer are there by chance, and tell little."""

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASS|.PWD|KEY|CREDENTIAL|DSN|AUTH(?!ORS?(?![A-Z]))", re.IGNORECASE)
_FIELD = r"pass(?:word|wd|phrase)?|pwd|secret|token|(?:api|access|private|account)[_-]?key|credentials?"

# Shapes of well-known tokens. Each is a prefix and a bounded run of one class, so matching is linear.
_SHAPES = re.compile(
    r"gh[opsur]_[A-Za-z0-9]{20,255}"
    r"|github_pat_[A-Za-z0-9_]{20,255}"
    r"|glpat-[A-Za-z0-9_-]{20,255}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,255}"
    r"|(?:npm|dckr_pat|CCIPAT|[rs]k_live)_[A-Za-z0-9_-]{20,255}"
    r"|whsec_[A-Za-z0-9+/=]{16,255}"
    r"|gl_[A-Za-z0-9_-]{20,255}"
    r"|(?i:bearer) [A-Za-z0-9._~+/=-]{8,4096}"
    r"|eyJ[A-Za-z0-9_-]{10,4096}\.[A-Za-z0-9_-]{4,4096}\.[A-Za-z0-9_-]{4,4096}"
)
_HEADER = re.compile(r"(?i)(authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:basic|bearer|token|digest) )[^\s\"']{1,4096}")
_URL_PASSWORD = re.compile(r"(\w{1,20}://[^\s/:@]{0,256}:)([^\s/]{1,256})(?=@)")
_URL_TOKEN = re.compile(r"(\w{1,20}://)([^\s/:@]{20,256})(?=@)")
_PAIR = re.compile(
    rf"(?i)((?:{_FIELD}|auth|sig(?:nature)?)=)(\"[^\"\r\n]{{1,4096}}|'[^'\r\n]{{1,4096}}|[^\s&;\"'<>]{{1,4096}})"
)
_JSON_PAIR = re.compile(rf"(?i)(\"[\w.-]{{0,40}}?(?:{_FIELD})\"\s{{0,8}}:\s{{0,8}}\")((?:[^\"\\]|\\.){{1,8192}})")
_USER_AT = re.compile(r"\A([^\s:/@]{1,256}:)([^\s/]{1,256})(?=@)")
"""The beginning of a data source name without a scheme, such as `app:PASSWORD@tcp(db:3306)/shop`."""

_PEM = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?")


_GO = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})
"""What Go's JSON escapes beside what all do: `kubectl` and `helm` print so."""


def names_secret(name: str) -> bool:
    """Return whether a variable or an option of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def secrets_in(value: str, name: str = "") -> list[str]:
    """Return the secret parts of a variable's value: all of it if its name says so, and the passwords in it."""
    parts = [part for shape in (_URL_PASSWORD, _URL_TOKEN, _PAIR, _USER_AT) for _, part in shape.findall(value)]
    parts = [part.strip("\"'") for part in parts]
    parts += [form(part) for part in parts for form in (unquote, unquote_plus)]
    parts += [_unescaped(part) for _, part in _JSON_PAIR.findall(value)]
    return [value, *parts] if names_secret(name) else parts


def secrets_of_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the secret parts of an argument list: `--token=VALUE`, `--token VALUE`, and passwords in URLs."""
    found = [part for argument in arguments for part in secrets_in(argument)]
    options = [argument.partition("=") for argument in arguments]
    found += [value for option, _, value in options if value and names_secret(option)]
    following = [value for (option, equals, _), value in zip(options, arguments[1:], strict=False)
                 if option.startswith("-") and not equals and names_secret(option) and not value.startswith("-")]  # fmt: skip
    return found + following


class Scrubber:
    """Replace known secrets, in the forms in which tools print them, and what looks like a token, by `[secret]`."""

    def __init__(self, secrets: Iterable[str] = (), live: Callable[[], Iterable[str]] = tuple) -> None:
        """Keep `live`, which returns the present secrets.

        Earlier ones stay hidden, since running commands may have them.
        """
        self._secrets, self._live = {*secrets, *live()}, live
        self._known = _known(self._secrets)

    def also(self, secrets: Iterable[str]) -> Scrubber:
        """Return a scrubber that knows these secrets too."""
        return Scrubber([*self._secrets, *secrets], self._live)

    def begun(self, text: str) -> int:
        """Return how many characters at the end of `text`, without line breaks, may be the beginning of a secret.

        Not those of a whole secret, which are hidden: some end as they begin.
        """
        self._look()
        end = text[-2 * max(map(len, self._known), default=0) :].replace("\r", "").replace("\n", "")
        whole = max((len(form) for form in self._known if end.endswith(form)), default=0)
        begun = max((_begun(form, end) for form in self._known), default=0)
        return begun if begun > whole else 0

    def _look(self) -> None:
        """Read the present secrets, and keep the earlier ones."""
        if new := set(self._live()) - self._secrets:
            self._secrets |= new
            self._known = _known(self._secrets)

    def __call__(self, text: str) -> str:
        """Return `text` without secrets."""
        self._look()
        # Few of the forms are in a text: looking for each by itself is much cheaper than one pattern of all.
        flat = text.replace("\r", "").replace("\n", "")
        found = [form for form in self._known if form in flat or form in text]
        if found:
            text = re.sub("|".join(map(_in_lines, found)), HIDDEN, text)
        text = _PEM.sub(HIDDEN, text)
        text = _SHAPES.sub(HIDDEN, text)
        for shape in (_HEADER, _URL_PASSWORD, _URL_TOKEN, _PAIR, _JSON_PAIR):
            text = shape.sub(rf"\1{HIDDEN}", text)
        return text


def _begun(form: str, end: str) -> int:
    """Return how many characters of a form a text ends with, from its first one on; 0: fewer than BEGINNING."""
    last, n = end[-BEGINNING:], len(form)
    while len(last) == BEGINNING and (at := form.rfind(last, 0, n - 1)) >= 0:
        n = at + BEGINNING
        if end.endswith(form[:n]):
            return n
    return 0


def _in_lines(form: str) -> str:
    """Return the pattern of a form that may be cut into lines anywhere, as terminals and `base64` do it."""
    return r"(?:\r?\n)?".join(map(re.escape, form))


def _known(secrets: Iterable[str]) -> list[str]:
    """Return every form of every secret, the longest first, so that no form hides only a part of another one."""
    forms = {form for secret in secrets for form in (*_texts(secret), *_base64(secret))}
    return sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)


def _texts(secret: str) -> Iterator[str]:
    """Yield the secret and each line of it, as they are and as JSON, URLs, shells HTML and hex write them."""
    for piece in {secret, secret.strip(), *(line.strip() for line in secret.splitlines())}:
        if len(piece) < SHORTEST:
            continue
        for escaped in (json.dumps(piece)[1:-1], json.dumps(piece, ensure_ascii=False)[1:-1], repr(piece)[1:-1]):
            yield from (escaped, escaped.replace("/", "\\/"), json.dumps(escaped)[1:-1], escaped.translate(_GO))
        for encoded in (quote(piece, safe=""), quote(piece), quote_plus(piece)):
            yield from (encoded, re.sub(r"%..", lambda found: found[0].lower(), encoded))
        yield from (piece, shlex.quote(piece), piece.replace("'", "'\\''"))
        markup = html.escape(piece, quote=False)
        yield from (markup, html.escape(piece), markup.replace('"', "&#34;").replace("'", "&#39;"))
        yield from (piece.encode("utf-8", "surrogatepass").hex(), piece.encode("utf-8", "surrogatepass").hex().upper())
        yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", piece)


def _base64(secret: str) -> Iterator[str]:
    """Yield the secret in base64, also behind other bytes as in `user:password`, and wrapped into lines."""
    if len(secret) < SHORTEST:
        return
    for piece in {secret, secret.strip()}:
        raw = piece.encode("utf-8", "surrogatepass")
        for before in range(3):
            # The first and the last character may depend on the neighbours of the secret: they are left out.
            whole = slice((8 * before + 5) // 6, 8 * (before + len(raw)) // 6)
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                yield encode(bytes(before) + raw).decode()[whole]
        text = base64.b64encode(raw).decode()
        yield text.rstrip("=")
        yield from (text[at : at + wide] for wide in (64, 76) for at in range(0, len(text) - wide, wide))


def _unescaped(part: str) -> str:
    """Return the text that a JSON string has between its quotes."""
    try:
        return str(json.loads(f'"{part}"', strict=False))
    except ValueError:
        return part
