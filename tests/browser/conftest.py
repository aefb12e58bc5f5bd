"""Chromium, driven by Playwright; and a team's week, played once for all tests of a run that only look."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.sample import Team, play, prepare
from support.process import Up

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
QUIET = ("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--no-first-run", "--no-sandbox")  # fmt: skip

try:
    from playwright.sync_api import Browser, Page, sync_playwright

    MISSING = "" if CHROMIUM else "needs Chromium: apt-get install chromium"
except ImportError:
    MISSING = "needs Playwright: make .venv/browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all of this folder, and skip it where a browser cannot be driven, with what is missing."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")
            if MISSING:
                item.add_marker(pytest.mark.skip(reason=MISSING))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


Opens = Callable[..., "Page"]


@pytest.fixture
def opens(chromium: Browser) -> Iterator[Opens]:
    """Return a function that opens a page of a browser of its own; the test fails if a page had an error in a script."""
    contexts, problems = [], []

    def note(line: Any, expected: tuple[str, ...]) -> None:
        if line.type == "error" and not any(word in line.text for word in expected):
            problems.append(line.text)

    def open(*, expected: tuple[str, ...] = (), **options: Any) -> Page:
        context = chromium.new_context(reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: note(line, expected))
        page.on("dialog", lambda dialog: (problems.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
        return page

    yield open
    for context in contexts:
        context.close()
    assert problems == []


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Team, dict[str, str]]]:
    """The team after its week, and the commits of it by what they are."""
    if MISSING:
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("week")
    prepare(folder)
    team = Team(Up(folder))
    yield team, play(team)
    team.up.stop()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the screenshots: GREENLIGHT_SCREENSHOTS, or one that is thrown away."""
    named = os.environ.get("GREENLIGHT_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
