"""The `command` driver with real processes: what a command gets, what its end means, and who holds the target."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from greenlight.deployer.driver import Busy, Order, Output, Progress
from greenlight.deployer.drivers.command.driver import CommandDriver
from greenlight.deployer.drivers.command.ends import read_end
from greenlight.entrypoints.drivers import Drivers
from greenlight.lib.clock import SystemClock
from greenlight.lib.process import wait_for_exit
from greenlight.lib.scrub import Scrubber
from support.helm import eventually
from support.policy import parse

SHA = "f" * 40


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[CommandDriver]:
    driver = make(tmp_path)
    yield driver
    driver.close()


def make(folder: Path) -> CommandDriver:
    return CommandDriver(folder / "state", scrub=Scrubber(["hunter22"]), clock=SystemClock(), grace=0.3)


def order(folder: Path, *run: str, id: str = "d1", environment: str = "prod", fence: int = 7, **config: Any) -> Order:
    return Order(id, "shop", environment, "acme/shop", SHA, fence, 0, "00-a-b-01", {"run": list(run), **config}, folder)


def sh(folder: Path, script: str, **more: Any) -> Order:
    return order(folder, "sh", "-c", script, **more)


def ended(driver: CommandDriver, order: Order) -> Progress:
    assert driver.apply(order).outcome in ("running", "succeeded", "failed", "error")
    return driver.watch(order, 20)


def test_the_environment_is_closed(driver: CommandDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the documented variables, PATH, HOME and the configured ones reach the command; nothing of ours leaks."""
    monkeypatch.setenv("GREENLIGHT_TOKEN", "must not leak")
    script = "import os; print(sorted(k for k in os.environ if k not in ('LC_CTYPE',)))"
    progress = ended(driver, order(tmp_path, sys.executable, "-c", script, env={"REGION": "eu"}))
    own = {"REPO", "SHA", "APPLICATION", "ENVIRONMENT", "DEPLOYMENT_ID", "FENCE"}
    expected = sorted({f"GREENLIGHT_{name}" for name in own} | {"TRACEPARENT", "PATH", "HOME", "REGION"})
    assert progress.output is not None
    assert progress.output.strip() == str(expected)


def test_the_ref_arrives_as_it_is(driver: CommandDriver, tmp_path: Path) -> None:
    """Git allows signs of a shell in it; a shell that reads it in quotes evaluates none of them."""
    ref = "refs/tags/v1;$(touch${IFS}owned)`id`'\"é\u202e"
    begun = replace(sh(tmp_path, 'printf %s "$GREENLIGHT_REF"'), ref=ref)
    assert ended(driver, begun) == Progress("succeeded", None, ref)
    assert not list(tmp_path.rglob("owned"))


def test_its_folder_may_be_named_from_where_greenlight_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--data .greenlight` does; the parent of a command works elsewhere."""
    monkeypatch.chdir(tmp_path)
    driver = CommandDriver(Path("state"), scrub=Scrubber([]), clock=SystemClock(), grace=0.3)
    assert ended(driver, sh(tmp_path, "echo here")) == Progress("succeeded", None, "here\n")
    driver.close()


def test_there_is_no_shell_and_arguments_arrive_as_written(driver: CommandDriver, tmp_path: Path) -> None:
    """Substitutions, quotes, globs and options are text (fault 39)."""
    nasty = ["$(touch owned)", "`id`", "; rm -rf .", "--kube-apiserver=evil", "*", "a b", "'", '"', "\\", "é\n"]
    script = "import sys; print(sys.argv[1:])"
    progress = ended(driver, order(tmp_path, sys.executable, "-c", script, *nasty))
    assert progress.output is not None
    assert progress.output.strip() == str(nasty)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("script", "outcome", "reason"),
    [
        ("exit 0", "succeeded", None),
        ("exit 3", "failed", "exit status 3"),
        ("kill -9 $$", "error", "ended by SIGKILL, which Greenlight did not send (out of memory?)"),
        ("kill -TERM $$", "error", "ended by SIGTERM, which Greenlight did not send"),
    ],
)
def test_what_an_end_means(
    driver: CommandDriver, tmp_path: Path, script: str, outcome: str, reason: str | None
) -> None:
    """Exit 0 succeeded, any other exit failed; a signal that was not ours is an error."""
    progress = ended(driver, sh(tmp_path, script))
    assert (progress.outcome, progress.reason) == (outcome, reason)


@pytest.mark.parametrize(
    "wrong",
    [
        {"run": ["no-such-program"]},
        {"run": ["./not-executable"], "said": "chmod +x "},
        {"run": ["./of-windows"], "said": "the line ends of Windows"},
        {"run": ["./without-interpreter"], "said": "/no/such/shell"},
        {"run": ["true"], "cwd": "missing"},
        {"run": ["true"], "cwd": "../.."},
        {"run": ["true"], "cwd": "link"},
    ],
)
def test_what_cannot_be_started_is_an_error(driver: CommandDriver, tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Neither the program, nor its folder, nor a link out of it: nothing ran, so the world has not said no."""
    (tmp_path / "not-executable").write_text("echo hi")
    (tmp_path / "link").symlink_to("/")
    for name, first in (("of-windows", "#!/bin/sh\r"), ("without-interpreter", "#! /no/such/shell -e")):
        (tmp_path / name).write_text(f"{first}\necho hi\n", newline="")
        (tmp_path / name).chmod(0o755)
    said = wrong.pop("said", "")
    it = order(tmp_path, *wrong.pop("run"), **wrong)
    progress = driver.apply(it)
    assert progress.outcome == "error"
    assert "cannot be started" in str(progress.reason)
    assert said in str(progress.reason)
    assert ended(driver, sh(tmp_path, "exit 0", id="d2")).outcome == "succeeded", "the target must be free again"


def test_the_time_limit_ends_the_whole_group(driver: CommandDriver, tmp_path: Path) -> None:
    """A command that ignores SIGTERM, and its children, are gone; the outcome is failed, without anybody watching."""
    script = "trap '' TERM; sleep 300 & echo $! > child; echo $$ > self; wait"
    it = sh(tmp_path, script, timeout="1s")
    progress = ended(driver, it)
    assert (progress.outcome, progress.reason) == ("failed", "timed out after 1 s")
    for name in ("child", "self"):
        assert wait_for_exit(int((tmp_path / name).read_text()), 5)


def test_output_is_kept_bounded_and_without_secrets(driver: CommandDriver, tmp_path: Path) -> None:
    """The end is kept; known secrets, secret variables and token shapes are hidden."""
    script = (
        "i=0; while [ $i -lt 3000 ]; do echo 'a line of output that is only filler, of about a hundred characters'; "
        'i=$((i+1)); done; echo "hunter22 $DEPLOY_TOKEN ghp_0123456789012345678901234567890123456"; echo the end'
    )
    progress = ended(driver, sh(tmp_path, script, env={"DEPLOY_TOKEN": "tok-tok-tok"}))
    assert progress.output is not None
    assert progress.output.endswith("[secret] [secret] [secret]\nthe end\n")
    assert len(progress.output) <= 16 * 1024
    (file,) = (tmp_path / "state" / "output").iterdir()
    assert 100_000 < file.stat().st_size <= 1 << 20
    ended(driver, sh(tmp_path, "echo the next one", id="d2"))
    assert (list(file.parent.iterdir()), file.read_text()) == ([file], "the next one\n")


def test_secrets_of_variables_and_arguments_are_hidden(driver: CommandDriver, tmp_path: Path) -> None:
    """By the variable's or the option's name, and the password within any URL, also where it is printed alone."""
    env = {"PGPASS": "swordfish99", "DATABASE_URL": "postgres://db.example/kiosk?password=hunter2hunter2"}
    script = 'echo "$PGPASS ${DATABASE_URL##*=} $2 $GIT_AUTHOR_NAME"'
    run = ["sh", "-c", script, "deploy", "--token", "argument-of-one"]
    progress = ended(driver, order(tmp_path, *run, env={**env, "GIT_AUTHOR_NAME": "release bot"}))
    assert progress.output == "[secret] [secret] [secret] release bot\n"


def test_a_command_gets_a_secret_that_the_pipeline_file_only_names(
    driver: CommandDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file or a variable of ours, read at each start, and hidden in what it prints whatever its name."""
    monkeypatch.setenv("ROBOT", "from our own environment")
    (tmp_path / "word").write_text("one of two\nlines\n")
    named = {"A": {"file": "word"}, "B": {"file": str(tmp_path / "word")}, "C": {"from": "ROBOT"}, "PLAIN": "plain"}
    script = 'printf "%s|%s|%s|%s|" "$A" "$B" "$C" "$PLAIN" > got; cat got'
    progress = ended(driver, sh(tmp_path, script, env=named))
    assert (tmp_path / "got").read_text() == "one of two\nlines|one of two\nlines|from our own environment|plain|"
    assert progress.output == "[secret]|[secret]|[secret]|plain|"
    (tmp_path / "word").write_text("another")
    ended(driver, sh(tmp_path, script, env=named, id="d2"))
    assert (tmp_path / "got").read_text() == "another|another|from our own environment|plain|"


@pytest.mark.parametrize(
    ("reference", "content", "told"),
    [
        ({"from": "NOT_SET"}, None, "env.WORD: the variable NOT_SET is not set"),
        ({"from": "EMPTY"}, None, "env.WORD: the variable EMPTY is not set, or is empty"),
        ({"file": "word"}, None, "word is not there"),
        ({"file": "."}, None, "is not there, or is not a file"),
        ({"file": "word"}, b"", "word is empty"),
        ({"file": "word"}, b"\n", "word is empty"),
        ({"file": "word"}, b"a\0b", "has a zero byte in it"),
        ({"file": "word"}, b"\xff\xfe", "is not UTF-8 text"),
        ({"file": "word"}, b"x" * (64 * 1024 + 1), "more than 64 KiB"),
    ],
)
def test_without_its_secret_a_command_is_not_started(
    driver: CommandDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, str],
    content: bytes | None, told: str,
) -> None:  # fmt: skip
    """An error that says which variable lacks what, with nothing of a content; once it is there, the target is free."""
    monkeypatch.setenv("EMPTY", "")
    if content is not None:
        (tmp_path / "word").write_bytes(content)
    progress = driver.apply(sh(tmp_path, "touch started", env={"WORD": reference}))
    assert progress.outcome == "error"
    assert told in str(progress.reason)
    assert str(progress.reason).startswith("the command cannot be started: env.WORD: ")
    assert not (tmp_path / "started").exists()
    (tmp_path / "word").write_text("now it is\r\n")
    script = 'test "$WORD" = "now it is"'
    assert ended(driver, sh(tmp_path, script, env={"WORD": {"file": "word"}}, id="d2")).outcome == "succeeded"


def test_a_target_is_free_once_the_end_is_heard(driver: CommandDriver, tmp_path: Path) -> None:
    """The next command begins at once: who held the target before has let it go."""
    for number in range(50):
        assert ended(driver, sh(tmp_path, "exit 0", id=f"d{number}")).outcome == "succeeded"


def test_one_deployment_is_started_once_however_often_it_is_asked_for(driver: CommandDriver, tmp_path: Path) -> None:
    """apply is idempotent for a deployment that runs, and for one that has succeeded."""
    os.mkfifo(tmp_path / "go")
    it = sh(tmp_path, "echo started >> log; read line < go")
    for _ in range(5):
        assert driver.apply(it).outcome == "running"
    (tmp_path / "go").write_text("go\n")
    assert driver.watch(it, 20).outcome == "succeeded"
    assert driver.apply(it).outcome == "succeeded"
    assert (tmp_path / "log").read_text() == "started\n"


def test_an_error_is_started_again_under_the_same_id_by_a_later_try_only(driver: CommandDriver, tmp_path: Path) -> None:
    """A try is known by its fence: within one, the same end is told however often it is asked for."""
    script = "echo started >> log; if [ -e again ]; then exit 0; fi; touch again; kill -9 $$"
    for _ in range(3):
        assert ended(driver, sh(tmp_path, script, fence=7)).outcome == "error"
    for _ in range(3):
        assert ended(driver, sh(tmp_path, script, fence=8)).outcome == "succeeded"
    assert (tmp_path / "log").read_text() == "started\n" * 2


def test_only_the_newest_end_of_a_target_is_kept(driver: CommandDriver, tmp_path: Path) -> None:
    """A data folder that is used for years keeps no more ends and outputs than it has targets."""
    for number in range(5):
        assert ended(driver, sh(tmp_path, "exit 0", id=f"d{number}")).outcome == "succeeded"
        assert ended(driver, sh(tmp_path, "exit 0", id=f"s{number}", environment="staging")).outcome == "succeeded"
    state = tmp_path / "state"
    assert sorted(file.name for file in (state / "ends").iterdir()) == ["shop--prod.json", "shop--staging.json"]
    assert sorted(file.name for file in (state / "output").iterdir()) == ["shop--prod.log", "shop--staging.log"]
    assert read_end(state / "ends" / "shop--prod.json").deployment == "d4"  # type: ignore[union-attr]


def test_a_target_takes_one_command_at_a_time_and_others_run_beside_it(driver: CommandDriver, tmp_path: Path) -> None:
    """A second deployment to the same target is Busy; another target is free."""
    os.mkfifo(tmp_path / "go")
    first = sh(tmp_path, "read line < go", id="d1")
    driver.apply(first)
    with pytest.raises(Busy):
        driver.apply(sh(tmp_path, "exit 0", id="d2"))
    assert ended(driver, sh(tmp_path, "exit 0", id="d3", environment="staging")).outcome == "succeeded"
    (tmp_path / "go").write_text("go\n")
    assert driver.watch(first, 20).outcome == "succeeded"
    assert ended(driver, sh(tmp_path, "exit 0", id="d2")).outcome == "succeeded"


def test_a_daemon_that_the_command_leaves_running_does_not_hold_the_target(
    driver: CommandDriver, tmp_path: Path
) -> None:
    """The lock is let go at the command's end, though the daemon inherited its descriptor."""
    assert ended(driver, sh(tmp_path, "sleep 300 > /dev/null 2>&1 & echo $! > daemon")).outcome == "succeeded"
    daemon = int((tmp_path / "daemon").read_text())
    try:
        assert ended(driver, sh(tmp_path, "exit 0", id="d2")).outcome == "succeeded"
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_path_that_is_named_elsewhere_is_not_looked_through_before_the_start(driver: CommandDriver) -> None:
    """What it will hold is read when the command starts."""
    run = {"run": ["no-such-program-anywhere"]}
    assert len(driver.check(run)) == 1
    assert driver.check({**run, "env": {"PATH": {"from": "DEPLOY_PATH"}}}) == []


def test_a_secret_that_is_missing_is_known_before_a_deployment_needs_it(tmp_path: Path) -> None:
    """At the start and to `doctor`, by application, environment and variable."""
    (tmp_path / "there").write_text("a secret")
    env = "{A: {file: there}, B: {file: missing}, C: {from: NOT_SET_ANYWHERE}}"
    text = f"""
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates: {{}}
    environments:
      - {{name: live, require: [], deploy: {{command: {{run: [sh, -c, "true"], env: {env}}}}}}}
"""
    drivers = Drivers(tmp_path / "state", Scrubber(), SystemClock())
    try:
        problems = list(drivers.problems(parse({"pipeline.yaml": text}, tmp_path)))
    finally:
        drivers.close()
    assert [problem.split(" is not ")[0] for problem in problems] == [
        f"shop/live: env.B: {tmp_path}/missing",
        "shop/live: env.C: the variable NOT_SET_ANYWHERE",
    ]


def test_after_a_restart_output_is_shown_only_if_its_secrets_are_known(tmp_path: Path) -> None:
    """A secret that was read from a file may have been replaced since; one that the pipeline file has is the same."""
    (tmp_path / "secret").write_text("was-secret-then")
    script = 'echo "$A_TOKEN"; read line < go'
    os.mkfifo(tmp_path / "go")
    for environment, value in (("one", {"file": "secret"}), ("two", "in-the-file")):
        begun = sh(tmp_path, script, environment=environment, env={"A_TOKEN": value})
        first = make(tmp_path)
        assert first.apply(begun).outcome == "running"
        eventually(lambda first=first, begun=begun: first.output(begun) == Output("[secret]\n", 9))
        first.close()
        (tmp_path / "secret").write_text("is-secret-now")
        restarted = make(tmp_path)
        later = replace(begun, fence=8)
        assert restarted.apply(later).outcome == "running"
        assert restarted.output(later) == (None if environment == "one" else Output("[secret]\n", 9))
        assert restarted.output(replace(later, deployment="d2")) is None, "another deployment's"
        (tmp_path / "go").write_text("go\n")
        assert restarted.watch(later, 20).output == "[secret]\n"
        restarted.close()
