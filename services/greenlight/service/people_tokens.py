"""Tokens for people: all that Greenlight itself writes into config/people.yaml."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import SingleQuotedScalarString
from ruamel.yaml.tokens import DocumentStartToken

from greenlight.lib.documents import DocumentError, load
from greenlight.lib.errors import ConfigurationError
from greenlight.service.people import ADD, read


def new_token(path: Path, id: str) -> str:
    """Make a new token for a person: its digest goes into the file, the token is returned once.

    ConfigurationError if there is no such person, or if the file cannot be written without losing something of it. Its
    comments, order, line ends and permissions stay; lists and mappings in brackets that go over several lines become one.
    """
    if id not in read(path):
        raise ConfigurationError(f"{path}: there is no person {id!r}. {ADD}")
    token = f"gl_{secrets.token_urlsafe(32)}"
    digest = "sha256:" + hashlib.sha256(token.encode()).hexdigest()
    before = path.read_bytes().decode("utf-8")  # with the line ends that it has
    try:
        after = _with_token(before, id, digest)
        lost = _comments(before) - _comments(after)
        changed = _values(after) != _values(before, id, digest)
    except (YAMLError, DocumentError, ValueError) as problem:  # ValueError: such as a date that there is not
        raise ConfigurationError(
            f"{path}: cannot be written: {problem}: put that in quotes, and try again"
        ) from problem
    if lost:
        raise ConfigurationError(
            f"{path}: cannot be written without losing the comment {next(iter(lost))!r}: "
            "put it on a line of its own, outside of brackets, and try again"
        )
    if changed:
        raise ConfigurationError(
            f"{path}: cannot be written without changing something else: put names and texts there in quotes, and try again"
        )
    try:
        _replace(path.resolve(), after)
    except OSError as problem:
        raise ConfigurationError(
            f"{path}: cannot be written, and no token was made: {problem.strerror}. Run this where the file is edited, "
            f"or write the digest of a token of your own to {id}'s `tokens` there: sha256: and the SHA-256 in hex"
        ) from problem
    return token


def _with_token(text: str, id: str, digest: str) -> str:
    """Return the text of a file with one more digest: the person's first, so that no following comment moves."""
    head, body = _split(text.replace("\r\n", "\n"))
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = sys.maxsize
    yaml.explicit_start = body.startswith("---")
    documents = list(yaml.load_all(body))
    people = [each["people"] for each in documents if each and id in each["people"]][-1]
    _keep_indentation(yaml, people)
    if people[id] is None:
        people[id] = CommentedMap()
    person, quoted = people[id], SingleQuotedScalarString(digest)
    if person.get("tokens"):
        person["tokens"].insert(0, quoted)
    else:
        tokens = CommentedSeq([quoted])
        tokens.fa.set_flow_style()
        if "tokens" in person:
            person["tokens"] = tokens
        else:
            person.insert(0, "tokens", tokens)
    written = io.StringIO()
    yaml.dump_all(documents, written)
    whole = head + written.getvalue()
    return whole.replace("\n", "\r\n") if "\r\n" in text else whole


def _split(text: str) -> tuple[str, str]:
    """Return what stands before a first `---`, which ruamel does not write again, and the rest."""
    tokens = YAML().scan(text)
    next(tokens)  # the stream's start
    first = next(tokens)
    start = first.start_mark.index if isinstance(first, DocumentStartToken) else 0
    return text[:start], text[start:]


def _keep_indentation(yaml: YAML, people: CommentedMap) -> None:
    """Indent as the file does: a person below `people`, and a dash below the name of its list."""
    blocks = [person for person in people.values() if isinstance(person, CommentedMap) and not person.fa.flow_style()]
    dashes = [
        field.lc.col - person.lc.col
        for person in blocks
        for field in person.values()
        if isinstance(field, CommentedSeq) and not field.fa.flow_style()
    ]
    offset = dashes[0] if dashes else 0
    mapping = people.lc.col if not people.fa.flow_style() else 2
    yaml.indent(mapping=mapping, sequence=offset + 2, offset=offset)


def _comments(text: str) -> Counter[str]:
    """Return how often each comment occurs."""
    found: Counter[str] = Counter()
    for token in YAML().scan(text.replace("\r\n", "\n")):
        for comment in _flat(getattr(token, "_comment", None)):
            found.update(line.strip() for line in comment.value.splitlines() if line.strip().startswith("#"))
    return found


def _flat(comments: Any) -> Iterator[Any]:
    """Yield the comments of a token of ruamel's, which are in lists of lists."""
    if isinstance(comments, Sequence):
        for each in comments:
            yield from _flat(each)
    elif comments is not None:
        yield comments


def _values(text: str, id: str | None = None, digest: str = "") -> str:
    """Return the values of the text, in its order; with a first digest for a person."""
    values = [document.value for document in load(text, "")]
    if id is not None:
        people = [each["people"] for each in values if id in each["people"]][-1]
        person = people[id] or {}
        named = person if "tokens" in person else {"tokens": [], **person}
        people[id] = named | {"tokens": [digest, *named["tokens"]]}
    return json.dumps(values)


def _replace(path: Path, text: str) -> None:
    """Replace a file by `text` in one step, readable by the same users."""
    was, fresh = path.stat(), path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(stat.S_IMODE(was.st_mode))
        with contextlib.suppress(PermissionError):  # only root may, and only root has to
            os.chown(fresh, was.st_uid, was.st_gid)
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
