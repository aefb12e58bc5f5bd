"""The message of a notice, in plain text and as a CloudEvent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from greenlight.events import Event, ids, types
from greenlight.events.schemas import dataschema
from greenlight.feedback.domain import shortened
from greenlight.feedback.notify.notices import Notice
from greenlight.lib.printable import printable

_SPECIAL = re.compile(r"([@<\[`*_~|])")
_SCHEME = re.compile(r"(?i)\b(https?|ftp|mailto)(:)")


@dataclass(frozen=True, slots=True)
class Message:
    """A message, ready to be sent."""

    id: str  # the same whenever the same is sent
    title: str
    text: str
    data: dict[str, str]
    at: datetime

    def event(self) -> Event:
        """Return the message as a CloudEvent."""
        return Event.of(
            types.FEEDBACK_NOTICE,
            id=self.id,
            source="greenlight/feedback",
            time=self.at,
            dataschema=dataschema(types.FEEDBACK_NOTICE),
            data=self.data,
        )


def message(notice: Notice, link: str | None, title: str | None, at: datetime) -> Message:
    """Return the message of a notice. `title`: the commit's; `link`: its page on the board."""
    what = f"{notice.application} {notice.environment}: {notice.outcome}: {notice.repo} {notice.sha[:7]}"
    lines = [plain(title) if title else "", plain(notice.reason)]
    lines += [f"Who must act: {plain(notice.who)}"] if notice.who else []
    lines += [link] if link else []
    data = {
        "repo": notice.repo,
        "sha": notice.sha,
        "application": notice.application,
        "environment": notice.environment,
        "outcome": notice.outcome,
        "reason": notice.reason,
        **({"who": notice.who} if notice.who else {}),
        **({"link": link} if link else {}),
    }
    id = ids.derive(types.FEEDBACK_NOTICE, notice.repo, notice.sha, notice.application, notice.environment, notice.key)
    return Message(id, plain(what), "\n".join(line for line in lines if line), data, at)


def trial(destination: str, person: str, id: str, at: datetime) -> Message:
    """Return the message by which a person tries a destination."""
    text = f"{plain(person)} tries the destination {plain(destination)}. There is nothing to do."
    return Message(id, "Greenlight: a test", text, {"outcome": "test", "reason": text}, at)


def plain(text: str) -> str:
    """Return text of others in one line that no chat or mail takes for a mention, a link or markup.

    A space of no width stands behind each character that begins one.
    """
    line = printable(" ".join(shortened(text, 500).split()))
    return _SCHEME.sub("\\1\u200b\\2", _SPECIAL.sub("\\1\u200b", line))
