"""docs/tracing.md: what a CI job computes by it is the trace that we export to."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from greenlight.events import ids

PAGE = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text()
SHA = "38285d24cffba1c52e4caa9e461ac5df2af9505b"


def test_the_shell_of_the_page_names_the_commits_trace_and_root() -> None:
    """sha256sum and cut are all that it takes."""
    (block,) = re.findall(r"((?:^    .*\n)+)(?=\nTools that read)", PAGE, re.MULTILINE)
    printed = subprocess.run(
        ["sh", "-c", block + '\nprintf %s "$TRACEPARENT"'],
        env={"PATH": os.environ["PATH"], "GIT_SHA": SHA},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed == f"00-{ids.trace_id('acme/shop', SHA)}-{ids.root_span_id('acme/shop', SHA)}-01"
