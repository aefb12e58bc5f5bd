"""Text for GitHub's pages. What comes from outside is escaped: it is never markup, a link, or a mention."""

from __future__ import annotations

import re
from collections.abc import Mapping

from greenlight.feedback.domain import APART, ASKS, DONE, FAILED, OVER, RUNNING, WAITS, Report, shortened
from greenlight.lib.printable import printable

MOST = 60_000
"""Characters of a summary; GitHub takes 65 535."""

CELL = 400
"""Characters of one reason."""

_WORDS: Mapping[str, str] = {
    FAILED: "❌ blocked",
    RUNNING: "🚀 under way",
    WAITS: "⏳ waits",
    ASKS: "✋ waits for people",
    OVER: "⏭️ superseded",
    DONE: "✅ deployed",
    APART: "not a candidate",
}
_GATES: Mapping[str, str] = {
    "passed": "✅",
    "overridden": "🟥",
    "failed": "❌",
    "revoked": "❌",
    "expired": "⌛",
    "pending": "⏳",
}
_PUNCTUATION = re.compile(r"([!-/:-?\[-`{-~])")


def escaped(text: str) -> str:
    """Return plain text as Markdown that shows it, in one line.

    Every mark of Markdown's is escaped, and what GitHub makes of text by itself (@name) is broken by a space of no width.
    """
    line = printable(" ".join(shortened(text, CELL).split()))
    return _PUNCTUATION.sub(r"\\\1", line).replace("@", "@\u200b")


def summary(report: Report) -> str:
    """Return a table of the environments and one of their gates."""
    lines = ["| environment | | why |", "| --- | --- | --- |"]
    for standing in report.standings:
        why = "; ".join(standing.reasons) or standing.text
        lines.append(f"| {escaped(standing.environment)} | {_WORDS[standing.kind]} | {escaped(why)} |")
    gates = _gates(report)
    if gates:
        lines += ["", "| gate | | environments | why |", "| --- | --- | --- | --- |"]
        for (name, state, why), environments in gates.items():
            where = ", ".join(map(escaped, environments))
            lines.append(f"| {escaped(name)} | {_GATES[state]} {state} | {where} | {escaped(why)} |")
    text = "\n".join(lines)
    return text if len(text) <= MOST else text[: text.rindex("\n", 0, MOST)] + "\n\n…"


def _gates(report: Report) -> Mapping[tuple[str, str, str], list[str]]:
    """Return the environments that require a gate, by its name, its state and the reason."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for standing in report.standings:
        for name, gate in standing.gates.items():
            found.setdefault((name, gate.state, gate.reason), []).append(standing.environment)
    return found
