"""What others write is read in terminals, pipes and logs, and drives none of them."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.cli.client import Client
from greenlight.cli.main import main
from greenlight.entrypoints.doctor import machine as looks
from greenlight.lib.errors import PROBLEM
from greenlight.lib.printable import OneRecord, document, printable

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31mx\rX\x7f\x1b[45m\u202egnp.exe\u2066\u2028\x85\x08\ud800\nFORGED line\tend"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
OURS = re.compile(r"\x1b\[(?:0|1|2|3[0-7])?m")
"""Colours of Greenlight's own, and rich's."""

AT = "2026-03-01T12:00:00Z"
SHA = "f" * 40
STATE = {"state": EVIL, "reason": EVIL, "at": EVIL, "by": [EVIL], "evidence": {EVIL: EVIL}}
STANDS = {
    "requires": [EVIL], "needs_person": False, "decision": EVIL, "reasons": [EVIL, EVIL], "gates": {EVIL: STATE},
    "requested": {"person": EVIL, "kind": EVIL, "until": EVIL}, "deployment": {"outcome": EVIL, "id": EVIL},
}  # fmt: skip
COMMIT = {
    "repo": EVIL, "sha": EVIL, "refs": [f"refs/heads/{EVIL}"],
    "applications": {EVIL: {"gates": {EVIL: STATE}, "environments": {EVIL: STANDS}}},
}  # fmt: skip
ENTRY = {
    "seq": 1,
    "at": EVIL,
    "type": EVIL,
    "id": EVIL,
    "payload": {"summary": EVIL, EVIL: EVIL},
    "prev": EVIL,
    "hash": EVIL,
}
SPAN = {
    "span_id": "a",
    "parent_id": None,
    "name": EVIL,
    "service": EVIL,
    "start": AT,
    "end": AT,
    "attributes": {EVIL: EVIL},
}
EVENT = {"type": EVIL, "id": EVIL, "source": EVIL, "data": {EVIL: EVIL}, EVIL: EVIL}
TRIED = {"number": 1, "sink": True, "at": EVIL, "why": EVIL}
STORY = {
    "event": EVENT, "received": EVIL, "broker": EVIL, "seq": 1, "only": EVIL,
    "reply_to": {"id": EVIL, "seq": 1, "trigger": EVIL},
    "triggers": [{"trigger": EVIL, "state": EVIL, "dead_letter": 1, "attempts": 1, "why": EVIL,
                  "failures": [TRIED], "replies": [EVENT]}],
}  # fmt: skip
LETTER = {
    "id": 1, "trigger": EVIL, "at": EVIL, "why": EVIL, "code": EVIL, "attempts": 1, "destination": EVIL, "failures": [TRIED],
    "answer": EVIL, "sink": EVIL, "closed": EVIL, "event": EVENT,
}  # fmt: skip
TRIGGER = {
    "trigger": EVIL, "subscriber": EVIL, "leaving": False, "lag": 1, "in_flight": 0, "retrying": 0,
    "dead_letters": 0, "oldest": 99,
}  # fmt: skip
DOCUMENTS: Mapping[str, dict[str, Any]] = {
    f"/commits/acme/shop/{SHA}": COMMIT,
    "/commits": {"commits": [COMMIT], "next": None},
    f"/commits/acme/shop/{SHA}/trace": {"trace_id": EVIL, "spans": [SPAN]},
    f"/commits/acme/shop/{SHA}/journal": {"entries": [ENTRY], "next": None},
    f"/commits/acme/shop/{SHA}/approvals": {"id": EVIL},
    "/targets/shop/staging/deployments": {"id": EVIL, "sha": EVIL, "until": EVIL},
    "/triggers": {"triggers": [TRIGGER]},
    "/events": {"events": [STORY]},
    "/dead-letters": {"dead_letters": [LETTER], "next": None},
    "/dead-letters/1": LETTER,
}
COMMANDS = [
    ("status",), ("status", "acme/shop", SHA), ("why", "acme/shop", SHA), ("trace", "acme/shop", SHA),
    ("journal", "acme/shop", SHA), ("approve", "acme/shop", SHA, "shop", "legal"),
    ("rollback", "shop", "staging", "--reason", EVIL), ("broker", "triggers"), ("broker", "events", "show", "1"),
    ("dead-letters", "list"), ("dead-letters", "show", "1"),
]  # fmt: skip
REFUSED = [
    ("why", "acme/shop", SHA, "nothing"),  # names what there is
    ("status", "acme/none"),  # the API refuses, and quotes
    ("status", EVIL),
    (EVIL,),
    ("status", f"--{EVIL}"),
    ("dead-letters", "list", "--code"),
    ("doctor",),
]


class Screen(io.StringIO):
    """Takes what is written, as a terminal or as a pipe."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@dataclass
class Run:
    """What the commands of a test write."""

    patch: pytest.MonkeyPatch
    terminal: bool

    def __call__(self, *words: str) -> str:
        out, err = Screen(self.terminal), Screen(self.terminal)
        with self.patch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            try:
                main(list(words))
            except SystemExit:
                pass
        assert out.getvalue() or err.getvalue(), f"{words} wrote nothing"
        return out.getvalue() + err.getvalue()


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    class Answer:
        def __init__(self, path: str) -> None:
            found = DOCUMENTS.get(path.removeprefix("/api/v1"))
            self.status = 404 if found is None else 200
            self.headers = {"Content-Type": PROBLEM if found is None else "application/json"}
            self.data = json.dumps({"title": EVIL, "detail": EVIL} if found is None else found).encode()

    monkeypatch.setattr(Client, "_ask", lambda self, method, path, **what: Answer(path))
    monkeypatch.setenv("COLUMNS", "100000")
    monkeypatch.setenv("TERM", "xterm-256color")
    return Run(monkeypatch, request.param)


@pytest.mark.parametrize("words", [*COMMANDS, *REFUSED], ids=lambda words: ascii(" ".join(words))[:40])
def test_no_command_writes_a_control_character_of_others(run: Run, words: tuple[str, ...]) -> None:
    """Each is shown as an escape, a line end within a name included."""
    text = run(*words)
    assert "\x1b[45m" not in text
    assert FORBIDDEN.findall(OURS.sub("", text) if run.terminal else text) == []
    assert [line for line in text.splitlines() if line.startswith("FORGED")] == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_json_says_the_same_and_drives_nothing(run: Run, words: tuple[str, ...]) -> None:
    """What JSON leaves as it is, such as C1 and what turns text around, is escaped too; a program reads what was there."""
    text = run(*words, "--json")
    assert FORBIDDEN.findall(text) == []
    said = {json.dumps(value) for value in DOCUMENTS.values()}
    assert json.dumps(json.loads(text)) in {
        *said,
        json.dumps({"entries": [ENTRY]}),
        json.dumps({"dead_letters": [LETTER]}),
    }


def test_doctor_prints_findings_line_by_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files and of a Greenlight that runs."""
    found = looks.Finding(f"what{EVIL}", looks.WRONG, f"said{EVIL}", f"todo{EVIL}")
    monkeypatch.setattr(looks, "machine", lambda *_: iter([found]))
    text = run("doctor")
    assert FORBIDDEN.findall(OURS.sub("", text)) == []
    assert [line for line in text.splitlines() if line.startswith("FORGED")] == []


@given(st.text())
def test_printable_text_is_all_there_is(text: str) -> None:
    """Whatever it was; and JSON still says what it said."""
    assert FORBIDDEN.findall(printable(text)) == []
    assert not set(printable(text)) & set("\n\t")
    assert FORBIDDEN.findall(document({text: [text]}, indent=2)) == []
    assert json.loads(document({text: [text]})) == {text: [text]}


def test_what_is_for_reading_stays() -> None:
    """Every script, and what joins its characters."""
    words = "é ß 日本語 עברית می‌خواهم 👩‍💻 \\n"
    assert printable(words) == words
    assert json.loads(document(words)) == words
    assert words.replace("\\", "\\\\") in document(words)


def test_a_record_of_the_log_is_never_two() -> None:
    """Neither by what a sender wrote nor by an exception that quotes it; a traceback is still read line by line."""
    try:
        raise ValueError(EVIL)
    except ValueError:
        problem = sys.exc_info()
    record = logging.LogRecord("greenlight", logging.ERROR, "", 0, "ignored %s", (EVIL,), problem)
    first, *rest = OneRecord().format(record).split("\n")
    assert "ERROR greenlight ignored \\x1b]0;owned" in first
    assert all(line.startswith("    ") for line in rest)
    assert any("ValueError" in line for line in rest)
    assert FORBIDDEN.findall("\n".join([first, *rest])) == []


def test_the_log_of_a_process_is_written_so() -> None:
    """What Greenlight logs, and what a library warns of."""
    script = (
        "import logging; from greenlight.lib.foreground import log_to_stderr\n"
        r"log_to_stderr().info('ref %s', 'a\x1b[2J\nFORGED'); logging.getLogger('library').warning('b\x9b31m\nFORGED')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert FORBIDDEN.findall(done.stderr) == []
    assert [line[-20:] for line in done.stderr.splitlines() if not line.startswith("    ")] == [
        "O greenlight ref a\\x1b[2J"[-20:],
        "WARNING library b\\x9b31m"[-20:],
    ]
