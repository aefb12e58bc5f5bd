"""How the command line finds, shows, filters, follows and waits."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from greenlight.cli.folder import repository_of
from greenlight.cli.main import main
from greenlight.ledger.port import Transaction
from greenlight.service.server import Server, serve
from support.flow import REPO, TOKENS, Shop, sha_of
from support.timing import PATIENCE

ONE, TWO = sha_of("one"), sha_of("two")


class Terminal:
    """Runs commands as lena, against one running Shop."""

    def __init__(self, shop: Shop, board: Server) -> None:
        self.shop = shop
        self.env = {
            "GREENLIGHT_URL": "http://{}:{}".format(*board.address),
            "GREENLIGHT_TOKEN": TOKENS["lena"],
            "DISPLAY": "",
            "WAYLAND_DISPLAY": "",
        }

    def __call__(self, *words: str, **env: str) -> Result:
        return CliRunner().invoke(main, list(words), env={**self.env, **env})

    def while_running(self, *words: str, then: Callable[[], object]) -> Result:
        """Run a command, and do something meanwhile."""
        with subprocess.Popen(
            [sys.executable, "-m", "greenlight.cli.main", *words],
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            first = process.stderr.readline()
            then()
            out, err = process.communicate(timeout=120)
        return Result(CliRunner(), out.encode(), (first + err).encode(), b"", None, process.returncode, None)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    shop = Shop(tmp_path).start()
    server = serve(shop.greenlight.apps["board"], "127.0.0.1:0", name="board")
    server.start()
    shop.push("one")
    shop.build("one")
    shop.watch.end("staging", ONE)
    shop.settle()
    yield Terminal(shop, server)
    server.stop(5)
    shop.stop()


def test_targets_history_and_diff_show_an_environment(terminal: Terminal) -> None:
    """What runs, what ran, and what would come."""
    shop = terminal.shop
    staging, production = terminal("targets").stdout.splitlines()
    assert staging.split("\t")[:2] == ["shop/staging", ONE[:7]]
    assert production.split("\t") == ["shop/production", "-", "-", "-", ""]
    shop.push("two", before="one")
    shop.settle()
    terminal("pause", "shop", "staging", "--reason", "sale")
    terminal("deploy", REPO, TWO, "shop", "staging", "--reason", "x")
    (row,) = terminal("targets", "shop", "staging").stdout.splitlines()
    assert row.split("\t")[3] == "1"
    assert re.search(r"paused by lena: sale.*, requested deploy of \w{7} by lena, until", row)
    assert terminal("targets", "shop", "stagin").stderr.endswith("did you mean 'staging'?\n")
    assert terminal("targets", "shop", "stagin").exit_code == 1
    shown = terminal("diff", "shop", "staging").stdout.splitlines()
    assert shown[0] == f"{TWO[:7]}\tacme-developer\ttwo"
    assert shown[1].startswith("https://github.com/acme/shop/compare/")
    assert json.loads(terminal("diff", "shop", "staging", TWO[:8], "--json").stdout)["complete"]
    (row,) = terminal("history", "shop", "staging").stdout.splitlines()
    assert row.split("\t")[2:6] == [ONE[:7], "automatic", "-", "succeeded"]
    assert "nothing has been deployed" in terminal("history", "shop", "production").stderr


def test_targets_and_why_show_freezes_of_people(terminal: Terminal) -> None:
    """Those that hold, and those that are planned: until when, why and by whom."""
    shop, freeze = terminal.shop, ("freeze", "shop", "staging", "--reason")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    begins, ends = (f"{tomorrow + timedelta(days=days):%Y-%m-%d}T08:00:00" for days in (0, 2))
    planned = terminal(*freeze, "sale", "--from", f"{begins}+01:00", "--until", f"{ends}+01:00", "--except", "oncall")
    assert planned.exit_code == 0
    assert terminal(*freeze, "audit", "--for", "2h").exit_code == 0
    (row,) = terminal("targets", "shop", "staging").stdout.splitlines()
    late = (
        rf"freeze from {begins[:11]}07:00:00\.0+Z until {ends[:11]}07:00:00\.0+Z: sale "
        r"\(by lena, except requests of oncall\)"
    )
    assert re.search(rf"\tfrozen until .* UTC: audit \(by lena\), planned {late}$", row)
    shop.push("two", before="one")
    shop.build("two")
    shop.settle()
    waits = terminal("why", REPO, TWO, "shop", "staging")
    assert waits.exit_code == 4
    assert re.search(r"waiting: frozen until .* audit \(by lena\); an operator may unfreeze shop/staging", waits.stdout)
    assert re.search(rf"planned +{late}", waits.stdout)
    assert "name one freeze" in terminal("unfreeze", "shop", "staging").stderr
    audit = next(it["id"] for it in shop.api("GET", "/targets/shop/staging").json["freezes"] if it["begun"])
    ended = terminal("unfreeze", "shop", "staging", "--freeze", audit[:7], "--wait")
    assert (ended.exit_code, "succeeded" in ended.stderr) == (0, True)
    assert terminal("unfreeze", "shop", "staging").exit_code == 0
    assert "no freeze of shop/staging by a person" in terminal("unfreeze", "shop", "staging").stderr


def test_logs_prints_an_output_and_follows_one_that_grows(terminal: Terminal) -> None:
    """Until the deployment ends, with its exit code; what the command prints never drives a terminal."""
    shop, config = terminal.shop, terminal.shop.folder / "config"
    assert terminal("logs", "shop", "production").exit_code == 1
    script = config / "deploy.sh"
    held = 'printf "begin \\033[31m\\nlogin token=abcdefgh\\n"; read line < hold; echo "end"; exit 3\n'
    script.write_text(held)
    os.mkfifo(config / "hold")
    shop.push("two", before="one")
    shop.build("two")
    shop.until(lambda: shop.environment("two", "staging")["deployment"] is not None)

    def go() -> None:
        id = shop.environment("two", "staging")["deployment"]["id"]
        shop.until(lambda: b"begin" in shop.api("GET", f"/deployments/{id}/log").get_data())
        (config / "hold").write_text("go\n")

    done = threading.Thread(target=go)
    done.start()
    followed = terminal("logs", "shop", "staging", "-f")
    done.join()
    assert followed.stdout.splitlines() == ["begin \\x1b[31m", "login token=[secret]", "end"]
    assert (followed.exit_code, "failed: exit status 3" in followed.stderr) == (1, True)
    first = terminal("history", "shop", "staging").stdout.splitlines()[1].split("\t")[1]
    assert terminal("logs", "shop", "staging", "--deployment", first).exit_code == 0
    assert "no deployment 'zzz'" in terminal("logs", "shop", "staging", "--deployment", "zzz").stderr
    assert json.loads(terminal("logs", "shop", "staging", "--json").stdout)["outcome"] == "failed"


def test_history_is_as_long_as_it_is_asked_to_be(terminal: Terminal) -> None:
    """The newest first, over the pages of the API; a JSON document continues where it ends."""
    ledger, path = terminal.shop.greenlight.ledger, ("history", "shop", "staging")
    (first,) = ledger.deployments("shop", "staging")
    ids = [f"{n:064x}" for n in range(1, 250)]
    older = [
        dataclasses.replace(first, id=id, version=0, started=first.started - timedelta(days=n))
        for n, id in enumerate(ids, 1)
    ]
    ledger.transact(Transaction(deployments=older))
    ids.insert(0, first.id)

    def shown(*words: str) -> list[str]:
        return [line.split("\t")[1] for line in terminal(*path, *words).stdout.splitlines()]

    for words, count in ((), 20), (("--limit", "130"), 130), (("--limit", "all"), 250), (("--limit", "900"), 250):
        assert shown(*words) == [id[:12] for id in ids[:count]], words
    assert "the newest 20 deployments" in terminal(*path).stderr
    assert terminal(*path, "--limit", "all").stderr == ""
    document = json.loads(terminal(*path, "--limit", "130", "--json").stdout)
    assert [it["id"] for it in document["deployments"]] == ids[:130]
    query = f"/targets/shop/staging/deployments?cursor={document['next']}&limit=1"
    assert terminal.shop.api("GET", query).json["deployments"][0]["id"] == ids[130]
    for wrong in ("0", "-1", "x", "1.5", "", "9999999999"):
        assert terminal(*path, "--limit", wrong).exit_code == 2, wrong
    assert "no deployment" not in terminal("logs", "shop", "staging", "--deployment", ids[-1]).stderr


def test_logs_goes_on_after_a_restart_of_the_board(terminal: Terminal) -> None:
    """Where it was; nothing is printed twice."""
    shop, config = terminal.shop, terminal.shop.folder / "config"
    (config / "deploy.sh").write_text("echo begin; read line < hold; echo end\n")
    os.mkfifo(config / "hold")
    shop.push("two", before="one")
    shop.build("two")
    shop.until(lambda: shop.environment("two", "staging")["deployment"] is not None)
    boards = [serve(shop.greenlight.apps["board"], "127.0.0.1:0", name="board")]
    boards[0].start()
    address = "{}:{}".format(*boards[0].address)
    command = [sys.executable, "-m", "greenlight.cli.main", "logs", "shop", "staging", "-f"]
    env = {**os.environ, **terminal.env, "GREENLIGHT_URL": f"http://{address}"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        boards[0].stop(5)
        (config / "hold").write_text("go\n")
        shop.watch.end("staging", TWO)
        boards.append(serve(shop.greenlight.apps["board"], address, name="board"))
        boards[1].start()
        out, err = process.communicate(timeout=120)
    boards[1].stop(5)
    assert (out, process.returncode) == ("end\n", 0), err


def test_a_watch_goes_on_after_a_restart_of_the_board(terminal: Terminal) -> None:
    """It shows what has changed meanwhile."""
    boards = [serve(terminal.shop.greenlight.apps["board"], "127.0.0.1:0", name="board")]
    boards[0].start()
    address = "{}:{}".format(*boards[0].address)
    command = [sys.executable, "-m", "greenlight.cli.main", "status", REPO, "--watch"]
    env = {**os.environ, **terminal.env, "GREENLIGHT_URL": f"http://{address}"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(ONE[:7])
        boards[0].stop(5)
        terminal.shop.push("two", before="one")
        boards.append(serve(terminal.shop.greenlight.apps["board"], address, name="board"))
        boards[1].start()
        assert any(line.startswith(TWO[:7]) for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    boards[1].stop(5)
    assert process.returncode == 0


def test_wait_ends_with_the_deployment_that_follows(terminal: Terminal) -> None:
    """0: it succeeded, 1: it can no longer come, 4: it still waits when the time is up."""
    shop = terminal.shop
    terminal("pause", "shop", "staging", "--reason", "sale")
    asked = ("deploy", REPO, ONE, "shop", "staging", "--reason", "x", "--wait")
    stopped = terminal(*asked)
    assert (stopped.exit_code, "the request waits in shop/staging: paused by lena" in stopped.stderr) == (1, True)
    assert "an operator may resume shop/staging" in stopped.stderr
    canceled = ("cancel", "shop", "staging", "--request", "--reason", "no")
    terminal(*canceled)
    terminal("resume", "shop", "staging")
    shop.push("three", ref="refs/heads/side")
    shop.settle()
    unbuilt = ("deploy", REPO, sha_of("three"), *asked[3:])
    unshipped = terminal(*unbuilt)
    assert (unshipped.exit_code, "was not seen as the head of a ref that shop ships" in unshipped.stderr) == (1, True)
    shop.push("three")
    shop.settle()
    waits = terminal(*unbuilt, "--timeout", "1s")
    assert (waits.exit_code, "the request waits in shop/staging: " in waits.stderr) == (4, True)
    terminal(*canceled)
    gone = terminal.while_running(*unbuilt, then=lambda: terminal(*canceled))
    assert (gone.exit_code, "ended without a deployment" in gone.stderr) == (1, True)
    nothing = terminal("resume", "shop", "staging", "--wait")
    assert (nothing.exit_code, "nothing waits" in nothing.stderr) == (0, True)
    succeeded = terminal(*asked, "--json")
    assert succeeded.exit_code == 0
    assert json.loads(succeeded.stdout)["deployments"][0]["outcome"] == "succeeded"
    (shop.folder / "config" / f"fail-{TWO}").touch()
    terminal("pause", "shop", "staging", "--reason", "sale")
    shop.push("two", before="one")
    shop.build("two")
    shop.settle()
    assert terminal("resume", "shop", "staging", "--wait").exit_code == 1
    assert terminal("retry", REPO, TWO, "shop", "staging", "--reason", "x", "--wait").exit_code == 1
    assert terminal("deploy", REPO, TWO, "shop", "staging", "--reason", "x", "--wait", "--timeout", "x").exit_code == 2


def test_approve_waits_for_what_its_gate_lets_through(terminal: Terminal) -> None:
    """In every environment that requires the gate; `why` has the same codes."""
    approve = ("approve", REPO, ONE, "shop", "legal", "--wait")
    assert terminal(*approve, "--timeout", "1s").exit_code == 4
    assert terminal("why", REPO, ONE, "shop", "production").exit_code == 4
    terminal.shop.scan("one")
    done = terminal(*approve)
    assert (done.exit_code, "shop/production: succeeded" in done.stderr) == (0, True)
    assert terminal("why", REPO, ONE).exit_code == 0
    terminal("revoke", REPO, ONE, "shop", "legal", "--reason", "x")
    terminal.shop.scan("one", "failed", run=2)
    terminal.shop.push("two", before="one")
    terminal.shop.settle()
    terminal.shop.scan("two", "failed")
    terminal.shop.settle()
    assert terminal("why", REPO, TWO).exit_code == 1, "a gate failed"


@pytest.mark.parametrize("stopped", ["pause", "manual"])
def test_wait_ends_where_only_a_person_lets_a_commit_go_on(terminal: Terminal, stopped: str) -> None:
    """Also in an environment before; it is said who may do what. What a program may still bring is waited for."""
    shop, pipeline = terminal.shop, terminal.shop.folder / "config/pipeline.yaml"
    if stopped == "pause":
        terminal("pause", "shop", "staging", "--reason", "sale")
    else:
        text = pipeline.read_text().replace("require: [build]", "promote: manual\n        require: [build]")
        pipeline.write_text(text)
        shop.until(lambda: "manual" in shop.greenlight.pipeline().applications["shop"].text)
    shop.push("two", before="one")
    shop.settle()
    approve = ("approve", REPO, TWO, "shop", "legal", "--wait")
    if stopped == "manual":
        assert terminal(*approve, "--timeout", "1s").exit_code == 4, "the build is awaited"
    shop.build("two")
    shop.settle()
    assert terminal(*approve).exit_code == 1, "production comes after staging, which goes on by a person alone"
    why = terminal("why", REPO, TWO, "shop", "staging")
    way_out = "an operator may resume" if stopped == "pause" else f"greenlight deploy {REPO} {TWO[:7]} shop staging"
    assert (why.exit_code, way_out in why.stdout) == (1, True)
    terminal("resume", "shop", "staging")
    terminal("deploy", REPO, TWO, "shop", "staging", "--reason", "x", "--wait")
    assert terminal(*approve, "--timeout", "1s").exit_code == 4, "the scan is awaited"


def test_status_filters(terminal: Terminal) -> None:
    """By application, environment, state and author; only the targets that are asked for are shown."""
    shop = terminal.shop
    shop.push("two", before="one", by="acme-other")
    shop.settle()
    assert len(terminal("status").stdout.splitlines()) == 4
    for words, expected in (
        (("--environment", "staging"), [(TWO, "staging"), (ONE, "staging")]),
        (("--state", "succeeded"), [(ONE, "staging")]),
        (("--state", "waiting", "--author", "OTHER"), [(TWO, "staging"), (TWO, "production")]),
        (("--author", "other@acme.example", "--environment", "staging"), [(TWO, "staging")]),
        (("--application", "none"), []),
        (("--author", "none"), []),
    ):
        rows = [line.split("\t") for line in terminal("status", *words).stdout.splitlines()]
        assert [(row[0], row[2]) for row in rows] == [(sha[:7], f"shop/{env}") for sha, env in expected], words
    assert "no such commit" in terminal("status", "--author", "none").stderr
    assert terminal("status", REPO, ONE, "--state", "ready").exit_code == 2
    assert terminal("status", "--state", "redy").exit_code == 2


def test_a_filter_looks_further_than_one_page(terminal: Terminal) -> None:
    """For what it finds."""
    for n in range(60):
        terminal.shop.push(f"c{n}", before="one", by="acme-other")
    terminal.shop.settle()
    assert f"{ONE[:7]}\t" in terminal("status", "--author", "acme-developer").stdout


def test_the_repository_comes_from_the_folder(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the remote `origin`; what is checked out only for commands that read."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert "Missing argument 'REPO'" in terminal("why", ONE[:8]).stderr
    for words in (("init", "-q"), ("remote", "add", "origin", "git@github.com:Acme/Shop.git")):
        subprocess.run(["git", *words], check=True)
    assert f"acme/shop {ONE[:7]}" in terminal("why", ONE[:8], "shop", "staging").stdout
    assert terminal("why", "--json", ONE[:8]).exit_code == 4
    assert terminal("why").exit_code == 2, "nothing is checked out"
    assert terminal("approve", "--comment", "fine", ONE[:8], "shop", "legal").exit_code == 0
    assert terminal("open", ONE[:8]).stdout == f"{terminal.env['GREENLIGHT_URL']}/commits/acme/shop/{ONE}\n"
    assert terminal("open").stdout == f"{terminal.env['GREENLIGHT_URL']}/\n"
    assert len(terminal("status").stdout.splitlines()) == 2, "all commits, not those of the folder"
    author = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    made = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert f"no commit {made} of acme/shop is known" in terminal("why").stderr
    assert f"no commit {made} of acme/shop is known" in terminal("why", "shop", "staging").stderr
    assert terminal("approve", "shop", "legal").exit_code == 2, "an action names its commit"


def test_a_browser_is_opened_where_there_is_a_display(terminal: Terminal, tmp_path: Path) -> None:
    """And nothing but the address is given to it."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s " "$@" >> "{tmp_path}/opened"\n')
    browser.chmod(0o755)
    env = {**os.environ, **terminal.env, "BROWSER": f"{browser} %s"}
    command = [sys.executable, "-m", "greenlight.cli.main", "open", REPO, ONE[:8]]
    for display in ("", ":0"):
        subprocess.run(command, env={**env, "DISPLAY": display}, check=True, stdout=subprocess.DEVNULL)
    terminal.shop.until((tmp_path / "opened").exists)
    page = f"{terminal.env['GREENLIGHT_URL']}/commits/acme/shop/{ONE}"
    terminal.shop.until(lambda: (tmp_path / "opened").read_text() != "")
    assert (tmp_path / "opened").read_text() == f"{page} "


def test_a_shell_completes_commands_and_options() -> None:
    """By click's own script, without a running Greenlight."""
    for words, at, found in (("greenlight hist", 1, "plain,history"), ("greenlight status --st", 2, "plain,--state")):
        env = {**os.environ, "_GREENLIGHT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        command = [str(Path(sys.executable).parent / "greenlight")]
        assert subprocess.run(command, env=env, capture_output=True, text=True).stdout.split() == [found]


@pytest.mark.parametrize(
    ("url", "repo"),
    [
        ("https://github.com/acme/shop", REPO.lower()),
        ("https://x:token@github.com/acme/shop.git/", "acme/shop"),
        ("ssh://git@github.com:22/acme/shop.git", "acme/shop"),
        ("git@github.com:acme/shop.git", "acme/shop"),
        ("gh:acme/shop.name", "acme/shop.name"),
        ("https://gitlab.com/group/acme/shop", None),
        ("/srv/git/acme/shop", None),
        ("../shop", None),
        ("", None),
    ],
)
def test_the_forms_of_a_remotes_address(url: str, repo: str | None) -> None:
    assert repository_of(url) == repo


def test_an_unknown_word_is_answered_with_the_probable_one(terminal: Terminal) -> None:
    """Commands, applications, environments and gates."""
    for words, code, said in (
        (("statsu",), 2, "did you mean 'status'?"),
        (("pause", "shp", "staging", "--reason", "x"), 1, "did you mean 'shop'?"),
        (("pause", "shop", "prodution", "--reason", "x"), 1, "did you mean 'production'?"),
        (("approve", REPO, ONE, "shop", "leagl"), 1, "did you mean 'legal'?"),
        (("why", REPO, ONE, "shop", "stging"), 1, "did you mean 'staging'?"),
        (("why", REPO, ONE, "shoop"), 1, "did you mean 'shop'?"),
        (("history", "shop", "zzz"), 1, "known are staging, production"),
    ):
        result = terminal(*words)
        assert (result.exit_code, said in result.stderr) == (code, True), result.output


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let commands be interrupted, also where the tests run in the background of a shell, which ignores SIGINT there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def on_terminal(
    terminal: Terminal, *words: str, steps: Sequence[tuple[str, Callable[[], object] | None]] = (), **env: str
) -> str:
    """Return what a command writes to a terminal.

    `steps` say what is done once it has written a text; None: it is interrupted.
    """
    todo = list(steps)
    parent, child = pty.openpty()
    whole = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    whole |= {**terminal.env, "TERM": "xterm", "COLUMNS": "200", **env}
    command = [sys.executable, "-m", "greenlight.cli.main", *words]
    seen = b""
    with subprocess.Popen(command, env=whole, stdout=child, stderr=child, stdin=child) as process:
        os.close(child)
        guard = threading.Timer(PATIENCE, process.kill)
        guard.start()
        while True:
            try:
                seen += os.read(parent, 65536)
            except OSError:  # nothing has the terminal's other end any more
                break
            if todo and todo[0][0].encode() in seen:
                _, act = todo.pop(0)
                act() if act is not None else process.send_signal(signal.SIGINT)
        guard.cancel()
        os.close(parent)
    assert todo == [], seen.decode()
    return seen.decode()


@pytest.mark.parametrize("words", [("status",), ("why", REPO, ONE), ("history", "shop", "staging"), ("targets",)])
def test_colours_are_for_terminals_that_want_them(terminal: Terminal, words: tuple[str, ...]) -> None:
    """Not with NO_COLOR, and not on a dumb one."""
    assert "\x1b[" in on_terminal(terminal, *words)
    assert "\x1b[" not in on_terminal(terminal, *words, NO_COLOR="1")
    assert "\x1b[" not in on_terminal(terminal, *words, TERM="dumb")


def test_a_watch_redraws_in_place(terminal: Terminal) -> None:
    """On a terminal: it goes back up and writes over what was there. Elsewhere it prints below."""
    steps = [(ONE[:7], lambda: terminal.shop.push("two", before="one")), (TWO[:7], None)]
    drawn = on_terminal(terminal, "status", "--watch", steps=steps)
    assert re.search(r"\x1b\[(1A|2K)", drawn), drawn
    plain = subprocess.Popen(
        [sys.executable, "-m", "greenlight.cli.main", "status", "--watch"],
        env={**os.environ, **terminal.env},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert plain.stdout is not None
    assert plain.stdout.readline().startswith(TWO[:7])
    plain.send_signal(signal.SIGINT)
    rest, _ = plain.communicate(timeout=60)
    assert ("\x1b" not in rest, plain.returncode) == (True, 0)
