"""Reasons for which a message was not taken."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from greenlight.feedback.notify import senders
from greenlight.feedback.notify.message import trial
from greenlight.service.secrets import Secret


@pytest.mark.parametrize(
    ("url", "wrong", "said"),
    [
        ("mailtos://ops:s3cret.word@mail.example.com", "s3cret.word at mail.example.com", "… at mail.example.com"),
        ("ntfys://tk.abcdef@ntfy.example.com/shop", "https://tk.abcdef@ntfy.example.com", "https://…@ntfy.example.com"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnl", "POST T1JJ3T3L2/A1BRTD4JD: 404", "POST …/…: 404"),
        ("json://ops:p%40ssw%C3%B6rd@hook.example/a.path.of.it", "p@sswörd, p%40ssw%C3%B6rd, a.path.of.it", "…, …, …"),
    ],
)  # fmt: skip
def test_what_apprise_says_names_the_host_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, url: str, wrong: str, said: str
) -> None:
    """Also a password that looks like the name of a host."""

    def fails(*_: object) -> None:
        raise RuntimeError(wrong)

    monkeypatch.setattr(senders, "_sent_by_apprise", fails)
    with pytest.raises(senders.Undelivered) as found:
        senders.by_apprise(trial("ops", "lena", "t", datetime.now(UTC)), Secret(url.encode(), "notify-ops", None))
    assert str(found.value) == f"RuntimeError: {said}"
