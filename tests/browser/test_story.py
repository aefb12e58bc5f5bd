"""The talk's story in browsers: developer, approver and operator, with scripts and without, and two of them at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from browser.conftest import Opens, free_port
from browser.sample import Team, prepare
from support import github as fake_github
from support.github import APP, FakeGitHub, private_key
from support.idp import MISSING as NO_PROVIDER
from support.idp import SECRET, real_provider
from support.process import Up


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    yield from fake_github.listening()


HOSTILE = "<img src=x onerror=alert(1)>\"'</title><script>alert(2)</script>"


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """A team whose commit waits in production for legal and two of release."""
    prepare(tmp_path)
    up = Up(tmp_path)
    yield Team(up)
    up.stop()


def waiting(team: Team, message: str = "Say hello") -> str:
    """Push a commit that runs in staging, and waits for people in production; return its sha."""
    sha = team.push("web", message)
    team.runs("web", "dev", sha)
    team.green_for_staging("web", sha)
    team.scans("web", sha, "accessibility_check")
    team.runs("web", "staging", sha)
    return sha


def log_in(page, team: Team, person: str) -> None:
    page.goto(f"{team.up.board}/login")
    page.get_by_label("Token").fill(person)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="What runs where").wait_for()


def approve(page, gate: str) -> None:
    """Approve what waits for this person, from the board: two clicks."""
    page.get_by_role("link", name="Approve…").first.click()
    assert gate in page.get_by_role("heading", level=1).inner_text()
    page.get_by_role("button", name="Approve").click()
    page.get_by_text(f"approved {gate}").first.wait_for()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_people_ship_a_commit_pause_and_roll_back(team: Team, opens: Opens, scripts: bool) -> None:
    """Three approvals in three browsers; an operator pauses with a reason, resumes, and rolls back to the one before."""
    first = waiting(team, "First of all")
    for person, gate in (("lena", "approval_from_legal"), ("rob", "release_signoff"), ("ria", "release_signoff")):
        page = opens(java_script_enabled=scripts)
        log_in(page, team, person)
        approve(page, gate)
    team.runs("web", "production", first)
    second = waiting(team, "Second thoughts")
    team.green_for_production("web", second)
    team.runs("web", "production", second)
    page = opens(java_script_enabled=scripts)
    log_in(page, team, "rob")
    page.goto(f"{team.up.board}/targets/web/production")
    page.get_by_role("link", name="Pause…").click()
    page.get_by_label("Reason").fill("we look at it")
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("rob: we look at it").first.wait_for()
    page.get_by_role("link", name="Roll back…").click()
    assert page.get_by_role("radio", name="First of all").is_checked()
    page.get_by_label("Reason").fill("it is slow")
    page.get_by_role("button", name="Roll back").click()
    team.runs("web", "production", first)
    page.goto(f"{team.up.board}/targets/web/production")
    page.get_by_role("link", name="Resume…").click()
    page.get_by_role("button", name="Resume").click()
    assert page.get_by_text("First of all").first.is_visible()
    assert page.get_by_text("commits that were pushed before that rollback are not deployed by themselves").is_visible()


def test_whoever_may_not_is_told_why_and_can_change_nothing(team: Team, opens: Opens) -> None:
    """A developer sees who has to act; the form that is opened by its address refuses with the reason."""
    sha = waiting(team)
    page = opens()
    log_in(page, team, "dana")
    page.get_by_role("table").last.get_by_role("link", name="Say hello").click()
    assert page.get_by_text("You may not sign approval_from_legal: dana is not in legal").is_visible()
    assert page.get_by_role("link", name="Approve").count() == 0
    page.goto(f"{team.up.board}/commits/acme/web/{sha}/approve?application=web&gate=approval_from_legal")
    assert page.get_by_text("You may not: dana is not in legal").is_visible()
    assert page.get_by_role("button", name="Approve").count() == 0
    page.goto(f"{team.up.board}/targets/web/production/pause")
    assert page.get_by_text("dana is in none of release").is_visible()


def test_an_open_page_shows_what_somebody_else_did_and_loses_nothing(team: Team, opens: Opens) -> None:
    """Without a reload: what is typed, selected and where one has scrolled stays."""
    sha = waiting(team)
    watching, acting = opens(), opens()
    log_in(watching, team, "rob")
    watching.goto(f"{team.up.board}/commits/acme/web/{sha}")
    watching.evaluate("window.mark = 'not reloaded'")
    watching.get_by_role("searchbox").fill("half a wo")
    watching.evaluate("window.scrollTo(0, 120)")
    log_in(acting, team, "lena")
    approve(acting, "approval_from_legal")
    watching.get_by_text("lena approved approval_from_legal").wait_for(timeout=15_000)
    assert watching.evaluate("window.mark") == "not reloaded"
    assert watching.get_by_role("searchbox").input_value() == "half a wo"
    assert watching.evaluate("window.scrollY") == 120


def test_a_page_that_loses_its_board_says_so_and_comes_back(opens: Opens, tmp_path: Path) -> None:
    """What was shown stays, marked; once the board answers again, the page is live again."""
    prepare(tmp_path)
    port = free_port()
    up = Up(tmp_path, "--listen", f"127.0.0.1:{port}")
    team = Team(up)
    waiting(team)
    page = opens(expected=("ERR_", "htmx:"))
    page.goto(f"{up.board}/")
    page.get_by_text("live", exact=True).wait_for()
    up.stop()
    page.get_by_text("no connection").wait_for(timeout=15_000)
    assert page.get_by_role("link", name="Say hello").first.is_visible()
    again = Up(tmp_path, "--listen", f"127.0.0.1:{port}")
    page.get_by_text("live", exact=True).wait_for(timeout=15_000)
    again.stop()


def test_the_keyboard_alone_is_enough(team: Team, opens: Opens) -> None:
    """From the login to an approval: by Tab, Enter and the keys that the footer names."""
    waiting(team)
    page = opens()
    page.goto(f"{team.up.board}/login")
    page.get_by_label("Token").focus()
    page.keyboard.type("lena")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="What runs where").wait_for()
    page.wait_for_load_state()  # the script that hears the keys has run by then
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").blur()
    page.keyboard.press("a")
    page.wait_for_url("**/approvals")
    tab_to(page, "Approve approval_from_legal…")
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=1, name="approval_from_legal").wait_for()
    tab_to(page, "Approve")
    page.keyboard.press("Enter")
    page.get_by_text("lena approved approval_from_legal").first.wait_for()


def tab_to(page, text: str) -> None:
    """Press Tab until the element with this text has the focus, which has to be seen."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == text:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"{text} cannot be reached")


def test_names_from_outside_are_text_on_every_page(team: Team, opens: Opens) -> None:
    """Title, author, branch, comment, reason, search: nothing is markup, and no script of theirs runs."""
    page = opens()
    sha = team.push("web", HOSTILE, ref="refs/heads/release/<b>x")
    team.runs("web", "dev", sha)
    team.says("lena", f"/commits/acme/web/{sha}/revocations", application="web", gate="approval_from_legal",
              comment=HOSTILE)  # fmt: skip
    team.says("rob", "/targets/web/production/pause", reason=HOSTILE)
    log_in(page, team, "rob")
    form = f"/commits/acme/web/{sha}/override?application=web&environment=staging"
    for path in ("/", "/approvals", "/commits?q=%3Cscript%3Ealert(3)%3C/script%3E", f"/commits/acme/web/{sha}",
                 "/targets/web/production", "/targets/web/dev", "/activity", form):  # fmt: skip
        page.goto(team.up.board + path)
        assert page.locator("main script, main img").count() == 0, path
    page.goto(f"{team.up.board}/commits/acme/web/{sha}")
    assert page.get_by_role("heading", level=1).inner_text() == HOSTILE
    assert page.title() == f"{HOSTILE} · Greenlight"


@pytest.mark.skipif(bool(NO_PROVIDER), reason=NO_PROVIDER)
def test_an_approval_under_a_real_login_ships_the_commit_and_github_shows_it(
    opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, github: FakeGitHub
) -> None:
    """An OpenID Connect provider logs the approver in; the vote is in the journal under the person of people.yaml.

    GitHub has the check on the commit, where a pull request shows it.
    """
    prepare(tmp_path)
    (tmp_path / "config" / "feedback.yaml").write_text(f"github:\n  url: {github.url}\n  app: {APP}\n")
    (tmp_path / "secrets" / "github-app").write_text(private_key())
    (tmp_path / "secrets" / "login-oidc").write_text(SECRET)
    port = free_port()
    accounts = {"lena": {"name": "Lena Böhm", "github": "lena"}}
    with ExitStack() as stack:
        issuer = stack.enter_context(real_provider(f"http://127.0.0.1:{port}", accounts))
        monkeypatch.setenv("GREENLIGHT_OIDC_ISSUER", issuer)
        monkeypatch.setenv("GREENLIGHT_OIDC_CLIENT", "greenlight")
        monkeypatch.setenv("GREENLIGHT_OIDC_GITHUB", "github")
        monkeypatch.setenv("GREENLIGHT_BOARD_URL", f"http://127.0.0.1:{port}")
        up = Up(tmp_path, "--listen", f"127.0.0.1:{port}")
        stack.callback(up.stop)
        team = Team(up)
        sha = waiting(team)
        for person in ("rob", "ria"):
            team.approves(person, "web", sha, "release_signoff")
        page = opens(expected=("ERR_", "404"))  # the provider's page wants a font from elsewhere
        page.goto(f"{up.board}/login")
        page.get_by_role("link", name="Log in with").click()
        page.get_by_placeholder("Enter any login").fill("lena")
        page.get_by_placeholder("and password").fill("any")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("heading", name="What runs where").wait_for()
        approve(page, "approval_from_legal")
        team.runs("web", "production", sha)
        entries = up.get(f"/commits/acme/web/{sha}/journal")["entries"]
        votes = [it["payload"]["details"]["person"] for it in entries if it["type"] == "approval.granted"]
        assert votes == ["rob", "ria", "lena"]
        github.until(lambda: [it[1:3] for it in github.told(sha, "check")][-1:] == [("completed", "success")])
        assert "production: deployed" in github.check(sha, "Greenlight: web")["output"]["title"]


def test_the_scripts_are_those_that_their_packages_hold() -> None:
    """As the page beside them says: by the digests of what npm serves."""
    folder = Path(__file__).parents[2] / "services/greenlight/board/static/vendor"
    listed = (folder / "README.md").read_text()
    for name in ("htmx.min.js", "idiomorph-ext.min.js"):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in listed, name
