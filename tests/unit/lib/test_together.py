"""Several questions at a time."""

from __future__ import annotations

import threading

import pytest

from greenlight.lib.together import AT_A_TIME, together


def test_answers_come_in_the_order_of_the_questions_which_are_asked_at_a_time() -> None:
    """Each waits for all: were they asked one after the other, none would end."""
    all_asked = threading.Barrier(AT_A_TIME, timeout=60)

    def asked(number: int) -> int:
        all_asked.wait()
        return number

    assert together((lambda n=n: asked(n)) for n in range(AT_A_TIME)) == list(range(AT_A_TIME))
    assert together([]) == []


def test_what_one_raises_is_raised_once_all_have_ended() -> None:
    ended = []

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        together([fails, lambda: ended.append(1)])
    assert ended == [1]
