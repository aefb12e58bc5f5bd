"""Ways to send a message: by Apprise to chats and mail, or as a signed CloudEvent to a webhook."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import urllib3

from greenlight.events.http import to_structured
from greenlight.feedback.notify.message import Message
from greenlight.lib import signing
from greenlight.lib.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from greenlight.service.secrets import Secret

TIMEOUT = 8.0
"""Seconds that one attempt may take."""


class Undelivered(Exception):
    """Report that a message was not taken. The reason has no secret in it."""


def by_apprise(message: Message, secret: Secret) -> None:
    """Send a message to a URL of Apprise's. Raises Undelivered, also for errors in one of its many plugins."""
    url = secret.value.decode("utf-8", "replace").strip()
    try:
        problem = _sent_by_apprise(message, url)
    except Exception as error:
        raise Undelivered(_hidden(f"{type(error).__name__}: {error}", url)) from None
    if problem is not None:
        raise Undelivered(problem)


def _sent_by_apprise(message: Message, url: str) -> str | None:
    """Send a message; return why it was not taken, None if it was."""
    import apprise  # here, because it takes a while, and few installations need it

    sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Greenlight", secure_logging=True))
    if not sender.add(url):
        return "this is no URL that Apprise knows: its page lists them (github.com/caronc/apprise/wiki)"
    messages: list[str] = []

    def keep(entry: Any, _: object = None) -> None:
        messages.append(str(entry.message))

    done = sender.notify(
        message.text,
        title=message.title,
        body_format=apprise.NotifyFormat.TEXT,
        timeout=TIMEOUT,
        log_callback=keep,
    )
    return None if done else _hidden(messages[-1] if messages else "it was not taken", url)


def by_webhook(message: Message, url: str, secrets: Sequence[Secret], http: urllib3.PoolManager) -> None:
    """Post a message as a CloudEvent, signed as Standard Webhooks says by every line of the secret. Raises Undelivered."""
    headers, body = to_structured(message.event())
    try:
        stamp = int(message.at.timestamp())
        signed = [signing.standard_webhooks(secret.value, message.id, stamp, body) for secret in secrets]
    except ValueError as problem:
        raise Undelivered(f"a line of the secret is no secret of Standard Webhooks: {problem}") from None
    headers |= {"webhook-id": message.id, "webhook-timestamp": str(stamp), "webhook-signature": " ".join(signed)}
    try:
        answer = http.request(
            "POST",
            url,
            body=body,
            headers=headers,
            redirect=False,
            retries=False,
            timeout=TIMEOUT,
            preload_content=False,
        )
        answer.close()
    except (urllib3.exceptions.HTTPError, OSError) as problem:
        raise Undelivered(f"no answer: {type(problem).__name__}") from None
    if not 200 <= answer.status < 300:
        raise Undelivered(f"it answered {answer.status}")


def _hidden(text: str, url: str) -> str:
    """Return what Apprise says without what its URL says, but for the host."""
    cut = re.split(r"[/?&=:@#]", url)
    parts = sorted({*cut, *map(unquote, cut), url}, key=len, reverse=True)
    shown = _host(url)
    for part in parts:
        if len(part) >= 6 and part.lower() != shown:
            text = text.replace(part, "…")
    return printable(text[:300])


def _host(url: str) -> str | None:
    """Return the host that a URL names; None where a token may stand in its place, as in those of chats."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return None
    return host if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host) else None
