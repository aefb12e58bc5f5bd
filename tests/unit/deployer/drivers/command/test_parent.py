"""A command below its parent, with real processes: what becomes of it when Greenlight, its parent or both are killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenlight.deployer.driver import Busy, Order, Progress
from greenlight.deployer.drivers.command.driver import CommandDriver
from greenlight.deployer.drivers.command.ends import End, write_end
from greenlight.deployer.drivers.command.parent import receive, send
from greenlight.deployer.lock import TargetLock
from greenlight.lib.clock import SystemClock
from greenlight.lib.process import all_ended, started_at, wait_for_exit
from greenlight.lib.scrub import Scrubber
from support.process import no_files_left

SOON = 60.0
"""Seconds that an event gets which takes milliseconds: a loaded machine is no reason to fail."""


def make(folder: Path) -> CommandDriver:
    return CommandDriver(folder / "state", scrub=Scrubber(["hunter22"]), clock=SystemClock(), grace=0.3)


def sh(folder: Path, script: str, *, id: str = "d1", fence: int = 7, **config: Any) -> Order:
    config = {"run": ["sh", "-c", script], **config}
    return Order(id, "shop", "prod", "acme/shop", "f" * 40, fence, 0, "00-a-b-01", config, folder)


def ended(driver: CommandDriver, order: Order) -> Progress:
    """The end of a deployment that is looked at as the deployer does: begun if it can be, then watched, again and again."""
    for _ in range(100):
        try:
            progress = driver.apply(order)
        except Busy:
            progress = Progress("running")
        if progress.outcome == "running":
            progress = driver.watch(order, SOON)
        if progress.outcome != "running":
            return progress
    raise AssertionError("it does not end")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a pipe to wait for a command's beginning, and one that lets it go on. Nothing is left behind."""
    os.mkfifo(tmp_path / "begun")
    os.mkfifo(tmp_path / "go")
    yield tmp_path
    lock = TargetLock(tmp_path / "state" / "locks" / "shop--prod.lock")
    while (holder := lock.holder()) is not None:
        os.kill(holder.pid, signal.SIGKILL)
        wait_for_exit(holder.pid, SOON)


@pytest.fixture
def driver(folder: Path) -> Iterator[CommandDriver]:
    driver = make(folder)
    yield driver
    driver.close()


BEGIN = "echo $GREENLIGHT_FENCE >> runs; echo > begun; read line < go; "
"""A command that writes down its start, says that it has begun, and waits until it may go on."""

_LIFE = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from test_parent import make, sh
driver, folder = make(Path({folder!r})), Path({folder!r})
print(driver.apply(sh(folder, {script!r}, fence={fence!r}, **{config!r})).outcome, flush=True)
sys.stdin.read()
"""


class Life:
    """A process that has started a command, until it is killed."""

    def __init__(self, folder: Path, script: str, *, fence: int = 7, begins: bool = True, **config: Any) -> None:
        here = Path(__file__)
        paths = [str(here.parents[5] / "services"), str(here.parents[4]), str(here.parent)]
        code = _LIFE.format(paths=paths, folder=str(folder), script=script, fence=fence, config=config)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == "running"
        if begins:
            heard(folder)

    def kill(self) -> None:
        """SIGKILL, and everything of it that is reaped."""
        self.process.kill()
        self.process.communicate()


def heard(folder: Path) -> None:
    with (folder / "begun").open() as begun:
        begun.readline()


def let_go(folder: Path) -> None:
    with (folder / "go").open("w") as go:
        go.write("go\n")


def holders(folder: Path) -> tuple[int, int]:
    """The process ids of the parent and of the command that the lock names, which it does a moment after the command began."""
    lock, end = folder / "state" / "locks" / "shop--prod.lock", time.monotonic() + SOON
    while (named := json.loads(lock.read_text()))["command"] is None:
        assert time.monotonic() < end, "the lock does not name the command"
        time.sleep(0.01)  # a file that is written over sends no news
    return named["pid"], named["command"]["pid"]


def runs(folder: Path) -> list[str]:
    """The fences of all starts."""
    return (folder / "runs").read_text().split()


@pytest.mark.parametrize(
    ("last", "outcome", "reason"),
    [
        ("echo hunter22 is done", "succeeded", None),
        ("echo hunter22 is done; exit 3", "failed", "exit status 3"),
    ],
)
def test_an_end_while_nobody_was_there_is_taken(folder: Path, last: str, outcome: str, reason: str | None) -> None:
    """The command ends while there is no Greenlight; the next one takes that end, with its output, and starts nothing."""
    script = BEGIN + last
    Life(folder, script).kill()
    parent, _ = holders(folder)
    let_go(folder)
    assert wait_for_exit(parent, SOON)
    driver = make(folder)
    progress = driver.apply(sh(folder, script, fence=8))
    assert progress == Progress(outcome, reason, "[secret] is done\n")
    assert driver.watch(sh(folder, script, fence=8), SOON) == progress
    assert runs(folder) == ["7"]
    driver.close()


def test_a_command_that_still_runs_is_adopted(folder: Path, driver: CommandDriver) -> None:
    """The next Greenlight finds it running, hears its end, and gets what it printed since its start."""
    script = "echo early; " + BEGIN + "echo late $DEPLOY_TOKEN"
    env = {"DEPLOY_TOKEN": "tok-tok-tok"}
    Life(folder, script, env=env).kill()
    it = sh(folder, script, fence=8, env=env)
    assert driver.apply(it).outcome == "running"
    with pytest.raises(Busy):
        driver.apply(sh(folder, "exit 0", id="d2", fence=9))
    assert driver.watch(it, 0).outcome == "running"
    let_go(folder)
    assert ended(driver, it) == Progress("succeeded", None, "early\nlate [secret]\n")
    assert runs(folder) == ["7"]


def test_the_time_limit_holds_while_nobody_is_there(folder: Path) -> None:
    """The parent ends the whole group when the time is up, though it ignores SIGTERM; the next Greenlight hears of that."""
    script = "trap '' TERM; sleep 300 & echo $! > child; echo > begun; wait; read line < go"
    Life(folder, script, timeout="1s").kill()
    parent, command = holders(folder)
    assert wait_for_exit(parent, SOON)
    for process in (command, int((folder / "child").read_text())):
        assert wait_for_exit(process, SOON)
    driver = make(folder)
    progress = driver.apply(sh(folder, script, fence=8, timeout="1s"))
    assert (progress.outcome, progress.reason) == ("failed", "timed out after 1 s")
    driver.close()


def test_an_error_while_nobody_was_there_is_started_again(folder: Path, driver: CommandDriver) -> None:
    """A command that something else killed has said nothing: a later try starts it again, as after any error."""
    script = BEGIN + "test -e again && exit 0; touch again; kill -9 $$"
    Life(folder, script).kill()
    parent, _ = holders(folder)
    let_go(folder)
    assert wait_for_exit(parent, SOON)
    assert driver.apply(sh(folder, script, fence=7)).outcome == "error"
    assert driver.apply(sh(folder, script, fence=8)).outcome == "running"
    heard(folder)
    let_go(folder)
    assert ended(driver, sh(folder, script, fence=8)).outcome == "succeeded"
    assert runs(folder) == ["7", "8"]


@pytest.mark.parametrize("greenlight_dies", [True, False])
def test_without_its_parent_a_command_is_waited_for_and_started_again(folder: Path, greenlight_dies: bool) -> None:
    """Nobody writes down its end; it holds its target all the same, and a later try starts it once it is gone."""
    script = BEGIN
    life = Life(folder, script)
    parent, command = holders(folder)
    if greenlight_dies:
        life.kill()
    os.kill(parent, signal.SIGKILL)
    assert wait_for_exit(parent, SOON)
    driver, it = make(folder), sh(folder, script, fence=8)
    with pytest.raises(Busy, match=f"process {command}"):
        driver.apply(it)
    assert driver.watch(it, 0).outcome == "running"
    assert runs(folder) == ["7"]
    let_go(folder)
    assert wait_for_exit(command, SOON)
    assert driver.apply(it).outcome == "running"
    heard(folder)
    let_go(folder)
    assert ended(driver, it).outcome == "succeeded"
    assert runs(folder) == ["7", "8"]
    driver.close()
    life.kill()


def test_a_lost_end_is_an_error_of_that_try(folder: Path, driver: CommandDriver) -> None:
    """Where the parent is killed under a living Greenlight, the same try starts nothing again; the next one does.

    Killed before it had the next parent made, it ends the process that does; while that ends, a try is an error, too.
    """
    script = BEGIN
    assert driver.apply(sh(folder, script, fence=7)).outcome == "running"
    heard(folder)
    parent, command = holders(folder)
    for process in (parent, command):
        os.kill(process, signal.SIGKILL)
        assert wait_for_exit(process, SOON)
    for _ in range(2):
        progress = ended(driver, sh(folder, script, fence=7))
        assert (progress.outcome, str(progress.reason)[:36]) == ("error", "it is unknown how the command ended:")
    next_try = next(n for n in range(8, 18) if driver.apply(sh(folder, script, fence=n)).outcome == "running")
    heard(folder)
    let_go(folder)
    assert ended(driver, sh(folder, script, fence=next_try)).outcome == "succeeded"
    assert runs(folder) == ["7", str(next_try)]


def test_where_all_were_killed_the_command_is_started_again(folder: Path, driver: CommandDriver) -> None:
    """As after the machine's death: no end was written, and nobody holds the target."""
    life = Life(folder, BEGIN)
    for process in holders(folder):
        os.kill(process, signal.SIGKILL)
    life.kill()
    for process in holders(folder):
        assert wait_for_exit(process, SOON)
    it = sh(folder, BEGIN, fence=8)
    assert driver.apply(it).outcome == "running"
    heard(folder)
    let_go(folder)
    assert ended(driver, it).outcome == "succeeded"
    assert runs(folder) == ["7", "8"]


def test_a_command_without_its_parent_is_held_to_its_time_limit(folder: Path, driver: CommandDriver) -> None:
    """Whoever watches ends its whole group when its time is up."""
    script = "trap '' TERM; sleep 300 & echo $! > child; echo > begun; wait; read line < go"
    life = Life(folder, script, timeout="1s")
    parent, command = holders(folder)
    os.kill(parent, signal.SIGKILL)
    life.kill()
    it = sh(folder, "exit 0", fence=8)
    assert ended(driver, it).outcome == "succeeded"
    for process in (command, int((folder / "child").read_text())):
        assert wait_for_exit(process, SOON)


def test_while_a_parent_has_named_no_command_its_target_is_not_taken(folder: Path, driver: CommandDriver) -> None:
    """A parent that was killed just then may have started one: who holds the lock is waited for, not replaced."""
    it = sh(folder, "exit 0", fence=8)
    lock = TargetLock(folder / "state" / "locks" / "shop--prod.lock")
    lock.take()
    gone = {"pid": 2**22, "started": "1", "deployment": "d1", "until": 0, "command": None}
    os.pwrite(lock.descriptor, json.dumps(gone).encode(), 0)
    with pytest.raises(Busy, match="Greenlight waits for it"):
        driver.apply(it)
    lock.release()
    assert ended(driver, it).outcome == "succeeded"


def test_a_daemon_left_by_an_earlier_life_does_not_hold_the_target(folder: Path, driver: CommandDriver) -> None:
    """Parent and command are dead: whoever else has the lock's descriptor is not deploying."""
    life = Life(folder, "sleep 300 > /dev/null 2>&1 & echo $! > daemon; " + BEGIN)
    for process in holders(folder):
        os.kill(process, signal.SIGKILL)
        assert wait_for_exit(process, SOON)
    life.kill()
    daemon = int((folder / "daemon").read_text())
    try:
        assert ended(driver, sh(folder, "exit 0", id="d2", fence=9)).outcome == "succeeded"
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_what_a_command_leaves_running_may_go_on_printing(folder: Path, driver: CommandDriver) -> None:
    """Its output still has a reader, and goes to the file; the target is free meanwhile."""
    script = "{ read line < go; echo one; sleep 0; echo two; echo > begun; } & exit 0"
    assert ended(driver, sh(folder, script)).outcome == "succeeded"
    log = folder / "state" / "output" / "shop--prod.log"
    assert log.read_text() == ""
    let_go(folder)
    heard(folder)
    deadline = time.monotonic() + SOON
    while log.read_text() != "one\ntwo\n":  # its reader is another process
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)  # a file that is written over sends no news


def test_a_command_inherits_no_descriptor_but_its_targets_lock(folder: Path, driver: CommandDriver) -> None:
    """Nothing of Greenlight's or of the parent's: its three streams, and the lock."""
    script = """if True:
        import json, os
        paths = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd") if int(number) > 2]
        print(json.dumps([os.readlink(path) for path in paths if os.path.lexists(path)]))"""
    it = sh(folder, "", run=[sys.executable, "-c", script])
    with (folder / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        output = ended(driver, it).output
    assert output is not None
    assert json.loads(output) == [str(folder / "state" / "locks" / "shop--prod.lock")]


def test_a_command_gets_signals_as_any_program_does(folder: Path, driver: CommandDriver) -> None:
    """Its parent handles signals for itself alone: the command blocks and ignores none of those that a program may set.

    The C library keeps 32 and 33 for itself, so that they stay as the tests were started with them.
    """
    output = ended(driver, sh(folder, "", run=["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"])).output
    assert output is not None
    settable = sum(1 << (number - 1) for number in signal.valid_signals())
    assert [int(line.split()[1], 16) & settable for line in output.splitlines()] == [0, 0]


def test_a_shutdown_that_reaches_the_parent_does_not_end_it(folder: Path, driver: CommandDriver) -> None:
    """It goes on as long as its command, so that the command's end is written down whatever ends it."""
    script = BEGIN
    assert driver.apply(sh(folder, script)).outcome == "running"
    heard(folder)
    parent, _ = holders(folder)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(parent, number)
    let_go(folder)
    assert ended(driver, sh(folder, script)).outcome == "succeeded"


@pytest.mark.parametrize("adopted", [False, True])
def test_a_canceled_command_has_failed(folder: Path, adopted: bool) -> None:
    """Its whole group is ended, whoever started it; another deployment's cancellation does nothing."""
    script = "sleep 300 & echo $! > child; " + BEGIN
    it, driver = sh(folder, script, fence=8), make(folder)
    if adopted:
        Life(folder, script).kill()
    else:
        driver.apply(it)
        heard(folder)
    driver.cancel(sh(folder, script, id="d0"), "not this one")
    assert driver.watch(it, 0).outcome == "running"
    driver.cancel(it, "canceled by lena")
    progress = ended(driver, it)
    assert (progress.outcome, progress.reason) == ("failed", "canceled by lena")
    assert wait_for_exit(int((folder / "child").read_text()), SOON)
    driver.close()
    with contextlib.closing(make(folder)) as next_life:
        later = next_life.apply(it)
    assert (later.outcome, later.reason) == ("failed", "canceled")


def test_an_older_try_does_not_act_after_a_newer_one(folder: Path, driver: CommandDriver) -> None:
    """What was asked for long ago, and is asked for only now, deploys nothing over what came later."""
    assert ended(driver, sh(folder, "echo 9 >> runs", id="d2", fence=9)).outcome == "succeeded"
    progress = driver.apply(sh(folder, "echo 7 >> runs", id="d1", fence=7))
    assert (progress.outcome, progress.reason) == ("error", "a later try, with fence 9, has deployed to this target")
    assert runs(folder) == ["9"]


def test_an_end_that_cannot_be_written_is_written_later(folder: Path, driver: CommandDriver) -> None:
    """While the disk refuses it, the target is held: the end is not lost, and the command not started again."""
    script, obstacle = BEGIN, folder / "state" / "ends" / "shop--prod.new"
    it = sh(folder, script)
    assert driver.apply(it).outcome == "running"
    heard(folder)
    _, command = holders(folder)
    obstacle.mkdir()
    let_go(folder)
    assert wait_for_exit(command, SOON)
    assert driver.apply(it).outcome == "running"
    assert driver.watch(it, 0).outcome == "running"
    obstacle.rmdir()
    assert ended(driver, it).outcome == "succeeded"
    assert runs(folder) == ["7"]


def test_an_end_is_on_the_disk_whole_or_not_at_all(folder: Path, driver: CommandDriver) -> None:
    """What no Greenlight has written is none, and the command is started; a file beside it does not disturb."""
    ends = folder / "state" / "ends"
    (ends / "shop--prod.new").write_text('{"deploy')
    (ends / "shop--prod.json").write_text('{"deploy')
    assert ended(driver, sh(folder, "echo 7 >> runs")).outcome == "succeeded"
    write_end(ends / "shop--prod.json", End("d2", 9, 4, 600, None, "written by a version of tomorrow"))
    end = json.loads((ends / "shop--prod.json").read_text())
    (ends / "shop--prod.json").write_text(json.dumps({**end, "more": "than we know"}))
    assert driver.apply(sh(folder, "exit 0", id="d2", fence=9)).reason == "exit status 4"
    assert runs(folder) == ["7"]


def test_the_process_that_starts_commands_may_be_killed(folder: Path, driver: CommandDriver) -> None:
    """The next command starts another; those that run are not concerned; nothing stays behind as a zombie."""
    script = BEGIN
    for id in ("d1", "d2", "d3"):
        it = sh(folder, script, id=id)
        assert driver.apply(it).outcome == "running"
        heard(folder)
        spawner = driver._spawner._process
        assert spawner is not None
        spawner.kill()
        spawner.wait()
        let_go(folder)
        assert ended(driver, it).outcome == "succeeded"
    driver.close()
    with pytest.raises(Busy, match="stopped"):
        driver.apply(sh(folder, script, id="d4"))
    children = Path("/proc/thread-self/children").read_text().split()
    assert [child for child in children if started_at(int(child)) is None] == []


def test_an_order_whose_receiver_closes_at_once_was_sent() -> None:
    """It would be sent again otherwise, and the command would run twice."""
    ours, theirs = socket.socketpair()

    class Closing(socket.socket):
        def sendmsg(self, *given: Any) -> int:
            sent = super().sendmsg(*given)
            assert receive(theirs, descriptors=1) is not None
            theirs.close()
            return sent

    with Closing(fileno=ours.detach()) as control, open(os.devnull) as descriptor:
        send(control, {"argv": ["true"]}, [descriptor.fileno()])
        with pytest.raises(BrokenPipeError):
            send(control, {"argv": ["true"]}, [descriptor.fileno()])


def test_without_descriptors_nobody_is_taken_for_dead(folder: Path, driver: CommandDriver) -> None:
    """Where it cannot be seen who holds the target, nothing is started beside him."""
    assert driver.apply(sh(folder, BEGIN)).outcome == "running"
    heard(folder)
    with no_files_left():
        for it in (sh(folder, BEGIN), sh(folder, BEGIN, id="d2", fence=8)):
            assert driver.apply(it).outcome == "error"
            assert driver.watch(it, 0).outcome == "running"
    with pytest.raises(Busy):
        driver.apply(sh(folder, BEGIN, id="d2", fence=8))
    assert runs(folder) == ["7"]
    let_go(folder)
    assert ended(driver, sh(folder, BEGIN)).outcome == "succeeded"


def test_closing_ends_every_wait_and_no_command(folder: Path, driver: CommandDriver) -> None:
    """Whoever watches comes back long before the time that he would wait; the command goes on, and its end is kept."""
    it = sh(folder, BEGIN)
    assert driver.apply(it).outcome == "running"
    heard(folder)
    driver.close()
    assert driver.watch(it, 86400).outcome == "running"
    let_go(folder)
    assert all_ended(SOON)
    with contextlib.closing(make(folder)) as next_life:
        assert next_life.apply(it).outcome == "succeeded"


def test_an_end_is_heard_without_looking_again_and_again(
    folder: Path, driver: CommandDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel tells, no process is looked at while it is waited for; where it does not, looking does."""
    it = sh(folder, BEGIN)
    looks: list[int] = []
    monkeypatch.setattr("greenlight.lib.process._look_for_exit", lambda pid, *_: looks.append(pid))
    driver.apply(it)
    heard(folder)
    let_go(folder)
    assert ended(driver, it).outcome == "succeeded"
    assert looks == []
    monkeypatch.undo()

    def refused(pid: int) -> int:
        raise PermissionError("pidfd_open is not allowed here")

    monkeypatch.setattr(os, "pidfd_open", refused)
    it = sh(folder, BEGIN, id="d2")
    driver.apply(it)
    heard(folder)
    parent, _ = holders(folder)
    assert not wait_for_exit(parent, 0.1)
    let_go(folder)
    assert wait_for_exit(parent, SOON)
    assert ended(driver, it).outcome == "succeeded"


def test_kill_9_at_any_moment_runs_a_command_once(folder: Path) -> None:
    """Greenlight is killed at random moments; the command is started once, and its end found by whoever comes last."""
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    dice = random.Random(seed)
    script = "mkdir alone || echo twice >> runs; echo $GREENLIGHT_FENCE >> runs; sleep 0.3; rmdir alone"
    for _ in range(5):
        life = Life(folder, script, begins=False)
        time.sleep(dice.random() * 0.4)  # a moment of the command's life, not a wait for something
        life.kill()
        driver = make(folder)
        assert ended(driver, sh(folder, script, fence=8)).outcome == "succeeded"
        driver.close()
        assert runs(folder) == ["7"]
        for file in ("runs", "state/ends/shop--prod.json"):
            (folder / file).unlink()
