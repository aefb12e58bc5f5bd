"""What the cases are written with: events, answers, and the short form of a case with a scene of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from support.backends import Answer, Case, Like, Scene, Send

FAST = {"retry": 2, "backoffPolicy": "exponential", "backoffDelay": "PT0.1S"}
"""Retries that a test can wait for."""

GONE = "http://127.0.0.1:1/gone"
"""Nobody listens there."""


KNOWN = {
    "specversion": "1.0",
    "id": "${case}",
    "source": "/test",
    "type": "test.happened",
    "case": "${case}",
    "set": "${set}",
}
"""Attributes that an event has unless a case says otherwise."""


def binary(body: bytes = b'{"n":1}', **attributes: str | None) -> Send:
    """An event of the scene, in binary mode; None takes an attribute away. `content` is the content type."""
    content = attributes.pop("content", "application/json")
    headers = {f"ce-{name}": text for name, text in {**KNOWN, **attributes}.items() if text is not None}
    return Send(headers if content is None else {**headers, "content-type": content}, body)


def structured(**members: Any) -> Send:
    """The same in structured mode; `raw` is text that follows the members as it stands."""
    raw = members.pop("raw", "")
    text = json.dumps({name: value for name, value in {**KNOWN, **members}.items() if value is not None})
    return Send({"content-type": "application/cloudevents+json"}, (text[:-1] + raw + "}").encode())


def reply(*, status: int = 200, body: bytes = b"", **attributes: str | None) -> Answer:
    """An answer with an event; its type is test.answered, its id that of the scene with -reply."""
    known = {
        "specversion": "1.0",
        "id": "${case}-reply",
        "source": "/reply",
        "type": "test.answered",
        "case": "${case}",
    }
    content = attributes.pop("content", None)
    headers = {f"ce-{name}": text for name, text in {**known, **attributes}.items() if text is not None}
    return Answer(status, headers if content is None else {**headers, "content-type": content}, body)


def case(
    id: str,
    send: Send | Sequence[Send],
    triggers: Mapping[str, Mapping[str, Any]],
    expect: Mapping[str, Any],
    *,
    answers: Mapping[str, Answer | Sequence[Answer]] | None = None,
    knative: Mapping[str, Any] | None = None,
    difference: str | None = None,
    **more: Any,
) -> Case:
    """A case with a scene of its own."""
    sends = [send] if isinstance(send, Send) else send
    scripts = {
        name: [script] if isinstance(script, Answer) else list(script) for name, script in (answers or {}).items()
    }
    return Case(id, Scene(id, sends, triggers, scripts, **more), expect, knative or {}, difference)


def sink(name: str, **delivery: Any) -> dict[str, Any]:
    """A delivery with a dead-letter sink."""
    return {**delivery, "deadLetterSink": {"uri": f"${{{name}}}"}}


def less(limit: float) -> Like:
    return Like(f"less than {limit}", lambda value: value < limit)


def at_least(limit: float) -> Like:
    return Like(f"at least {limit}", lambda value: value >= limit)


def starting(text: str) -> Like:
    return Like(f"{text}…", lambda value: value.startswith(text))


def among(*values: Any) -> Like:
    return Like(f"one of {values}", lambda value: value in values)
