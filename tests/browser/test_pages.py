"""Every page of the board in a browser: light and dark, wide and narrow; without an error, and for everybody to use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from browser.conftest import Opens
from browser.sample import Team

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no Playwright: make .venv/browser")

Week = tuple[Team, dict[str, str]]

PAGES = {
    "board": "/",
    "not-well": "/?targets=trouble&show=blocked",
    "approvals": "/approvals",
    "commits": "/commits",
    "search": "/commits?q=scan&state=waiting",
    "commit-waits": "/commits/acme/web/{waits for approval}",
    "commit-failed": "/commits/acme/checkout/{failed}",
    "commit-revoked": "/commits/acme/checkout/{revoked}",
    "commit-journal": "/commits/acme/web/{scan failed}?everything",
    "trace": "/commits/acme/checkout/{failed}/trace",
    "trace-critical": "/commits/acme/web/{waits for approval}/trace?critical",
    "target": "/targets/checkout/production",
    "target-paused": "/targets/search/staging",
    "target-running": "/targets/search/production",
    "deployment-running": "/deployments/{deployment under way}",
    "deployment-failed": "/deployments/{deployment failed}",
    "activity": "/activity",
    "setup": "/setup",
    "api": "/api",
    "api-route": "/api?one#requestDeployment",
    "me": "/me",
    "approve": "/commits/acme/web/{waits for approval}/approve?application=web&gate=approval_from_legal",
    "refuse": "/commits/acme/web/{waits for approval}/refuse?application=web&gate=approval_from_legal",
    "override": "/commits/acme/web/{scan failed}/override?application=web&environment=staging",
    "retry": "/targets/checkout/production/retry?sha={failed}",
    "rollback": "/targets/web/production/rollback",
    "pause": "/targets/web/production/pause",
    "freeze": "/targets/web/production/freeze",
    "not-found": "/commits/acme/web/9999999",
}
NOT_FOUND = "not-found"


def address(week: Week, path: str) -> str:
    team, shas = week
    return team.up.board + re.sub(r"{([^}]+)}", lambda found: shas[found[1]], path)


def log_in(page, week: Week, person: str):
    """Log in with the person's token, as on one machine."""
    page.goto(f"{week[0].up.board}/login")
    page.get_by_label("Token").fill(person)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/")


def test_each_page_answers_its_questions(opens: Opens, week: Week) -> None:
    """What runs, what comes next, who must act, and why: in the words of the page (questions.md).

    It is the first, because the deployment under way ends after three minutes.
    """
    page = opens()
    log_in(page, week, "rob")
    rows = re.findall(r"^\| ([\w-]+) \| (.+\?) \| (.+) \|$", (Path(__file__).parent / "questions.md").read_text(), re.M)
    assert len(rows) > 20
    missing, shown, texts = [], "", ""
    for name, question, answer in rows:
        if name != shown:
            page.goto(address(week, PAGES[name]))
            shown, texts = name, re.sub(r"\s+", " ", page.locator("main").inner_text())
        if answer not in texts:
            missing.append((name, question, answer))
    assert missing == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_fits_and_can_be_used_by_everybody(
    opens: Opens, week: Week, pictures: Path, scheme: str, width: int
) -> None:
    """No violation of axe's rules, nothing wider than the screen; the pictures are for people to look at."""
    page = opens(color_scheme=scheme, viewport={"width": width, "height": 900})
    log_in(page, week, "rob")
    found: dict[str, list[str]] = {}
    for name, path in PAGES.items():
        if name == NOT_FOUND:
            continue
        answer = page.goto(address(week, path))
        assert answer is not None
        assert answer.status == 200, name
        page.screenshot(path=pictures / f"{name}-{scheme}-{width}.png", full_page=True)
        wrong = [f"{it['id']}: {it['nodes'][0]['html'][:200]}" for it in axe.Axe().run(page).response["violations"]]
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wrong.append("wider than the screen")
        if wrong:
            found[name] = wrong
    assert found == {}


def test_pages_that_are_not_there_are_pages(opens: Opens, week: Week, pictures: Path) -> None:
    """With what happened and a way on; the browser's own error about the status is the only one."""
    for scheme in ("light", "dark"):
        page = opens(expected=("404",), color_scheme=scheme, java_script_enabled=False)
        answer = page.goto(address(week, PAGES[NOT_FOUND]))
        assert answer is not None
        assert answer.status == 404
        page.screenshot(path=pictures / f"{NOT_FOUND}-{scheme}-1280.png", full_page=True)
        page.get_by_role("link", name="To the board").click()
        page.get_by_role("heading", name="What runs where").wait_for()
