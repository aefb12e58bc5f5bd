"""The output of a command that still runs: whole lines, each once, and never a part of a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenlight.deployer.printed import PART, TOO_LONG, Printed
from greenlight.lib.scrub import Scrubber

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nZmFrZQ==\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_whatever_the_pieces_it_is_what_scrubbing_the_whole_gives(tmp_path: Path, size: int) -> None:
    """A secret that comes in pieces, on one line or several, is never seen."""
    scrub = Scrubber(["hunter22", "first line of it\nsecond line of it"])
    whole = f"begin é\nlogin hunter22 ok\n{KEY}\r\nfirst line of it\nsecond line of it\n" + "same\n" * 3
    whole += "cut hun\nter22, again hunter2\r\n2 and\na house of hun\n\nhun\nhunter\nté hun\n"
    whole += '{"password": "abc\ndef"}\nAuthorization: Bearer abcdefghij\nend without a line end'
    path, seen = tmp_path / "log", ""
    printed = Printed(scrub, 10_000)
    printed.follow(path, scrub)
    assert not printed.read(), "there is no file yet"
    raw = whole.encode()
    for at in range(0, len(raw), size):
        with path.open("ab") as file:
            file.write(raw[at : at + size])
        printed.read()
        assert scrub(whole).startswith(printed.text)
        assert printed.text.startswith(seen)
        seen = printed.text
    printed.finish()
    assert (printed.text, printed.total) == (scrub(whole), len(scrub(whole)))


def test_only_the_end_is_kept_and_a_line_that_is_too_long_is_left_out(tmp_path: Path) -> None:
    """`total` counts what is no longer kept; half of a secret at the edge of a long line is not shown."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * (PART - 3) + b"hunter22\n" + b"abc\n" * 10)
    printed, scrub = Printed(Scrubber(), 12), Scrubber(["hunter22"])
    printed.follow(path, scrub)
    while printed.read():
        pass
    assert printed.text == "abc\n" * 3
    assert printed.total == len(TOO_LONG) + len("[secret]\n") + 40
