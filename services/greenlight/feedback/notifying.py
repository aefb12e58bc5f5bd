"""Notifications about a commit: each notice goes to each address once, and later where the address fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from greenlight.feedback.deps import Deps
from greenlight.feedback.notify.message import message
from greenlight.feedback.notify.notices import Notice, notices
from greenlight.feedback.notify.notifier import Address
from greenlight.feedback.sent import Sent, SentBefore, digest
from greenlight.feedback.situations import cases_of
from greenlight.model.rows import DUE_AFTER

BUDGET = 15.0
"""Seconds after which no further message about a commit is begun; the others are due again."""


def notified(repo: str, sha: str, deps: Deps) -> datetime | None:
    """Send what addresses have not heard yet; return when to try again, None if there is no need to."""
    with deps.github.exclusively(repo, sha):
        before, again = SentBefore(deps.ledger, repo, sha), None
        until = deps.clock.monotonic() + BUDGET
        for notice in _notices(repo, sha, deps):
            for address in deps.notifier.addresses(notice.application, notice.environment, notice.outcome):
                key = f"notice/{address.key}/{digest([notice.application, notice.environment, notice.key])}"
                if before.of(key) is None:
                    later = _sent(notice, key, address, before, deps, until)
                    again = later if again is None or (later is not None and later < again) else again
    return again


def _notices(repo: str, sha: str, deps: Deps) -> Iterator[Notice]:
    record = deps.ledger.record(repo, sha)
    for policy in deps.pipeline().of(repo) if record is not None else ():
        cases = cases_of(policy, record, deps) if record is not None else {}
        if cases:
            yield from notices(policy, cases, deps.clock.now())


def _sent(notice: Notice, key: str, address: Address, before: SentBefore, deps: Deps, until: float) -> datetime | None:
    """Send one notice to one address; return when to try again, None if it was taken."""
    soon = deps.clock.now() + DUE_AFTER
    pause = deps.notifier.pause(address)
    if pause is not None or deps.clock.monotonic() >= until:
        return max(pause or soon, soon)
    title = deps.ledger.titles(notice.repo, [notice.sha]).get(notice.sha)
    link = deps.github.page(notice.repo, notice.sha)
    sent = message(notice, link, title.title if title is not None else None, deps.clock.now())
    again = deps.notifier.send(sent, address)
    if again is not None:
        return max(again, soon)
    before.keep(key, Sent(sent.id, notice.outcome), deps.clock.now())
    return None
