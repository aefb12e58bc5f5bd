"""The store on a disk that loses its power, fails, fills up or rots: what was acknowledged is there, whole, or it is said."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from greenlight.lib.errors import Unavailable
from greenlight.store import Damaged, Schema, Store, Tx, refusals
from greenlight.store import store as store_module
from support.disk import FULL, IOERR_FSYNC, IOERR_WRITE, OK, Disk, Step, power_cut, watched

GROUPS = Schema(
    "groups",
    (
        "CREATE TABLE members (grp INTEGER, n INTEGER, text TEXT, PRIMARY KEY (grp, n));"
        "CREATE TABLE groups (grp INTEGER PRIMARY KEY, size INTEGER);",
    ),
)

STATES = int(os.environ.get("CRASH_STATES", "40"))
"""States of the disk that are looked at for each recording."""


def group(number: int, size: int) -> Callable[[Tx], int]:
    """A change that is only right as a whole: `size` members, then the group that counts them."""

    def change(tx: Tx) -> int:
        for n in range(size):
            tx.execute("INSERT INTO members VALUES (?, ?, ?)", (number, n, f"{number} " * (40 + 61 * number % 500)))
        tx.execute("INSERT INTO groups VALUES (?, ?)", (number, size))
        return number

    return change


def groups(store: Store) -> set[int]:
    """The groups of a store, each of which is whole."""
    with store.read() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        counted = dict(connection.execute("SELECT grp, count(*) FROM members GROUP BY grp"))
        assert counted == dict(connection.execute("SELECT grp, size FROM groups WHERE size > 0"))
        return {number for (number,) in connection.execute("SELECT grp FROM groups")}


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is copied and begun anew every few commits, so that a short run sees all of its life."""
    monkeypatch.setattr(store_module, "CHECKPOINT_COMMITS", 7)
    monkeypatch.setattr(store_module, "CHECKPOINT_PAGES", 60)


def record(folder: Path, disk: Disk, *, synchronous: str = "FULL") -> None:
    """Two lives of a store with three writers, each acknowledgement marked in the recording; refusals are tried again."""
    with watched(disk):
        for life in range(2):
            store = opened(folder / "store.db", disk, synchronous)
            threads = [threading.Thread(target=work, args=(store, disk, life * 90 + first)) for first in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            store.close()


def opened(path: Path, disk: Disk, synchronous: str) -> Store:
    """A store, by the third try at the latest, for which somebody mends the disk."""
    answer = disk.answer
    for _ in range(2):
        try:
            return Store(path, [GROUPS], synchronous=synchronous)
        except (Unavailable, OSError):
            continue
    disk.answer = lambda step: OK
    try:
        return Store(path, [GROUPS], synchronous=synchronous)
    finally:
        disk.answer = answer


def work(store: Store, disk: Disk, first: int) -> None:
    for number in range(first, first + 60, 3):
        for _ in range(50):
            try:
                store.write(group(number, 1 + number % 7 + 40 * (number % 20 == 0)))
                disk.mark(str(number))
                break
            except Unavailable:
                continue


def lost(disk: Disk, folder: Path, chance: random.Random, cuts: Iterable[int], *, advised: bool = False) -> list[str]:
    """What is wrong after power cuts behind so many steps: acknowledged and not there, half there, or not to be opened.

    `advised`: a start may be refused, if following the advice loses nothing.
    """
    wrong = []
    for state, cut in enumerate(cuts):
        where = folder / f"state-{state}"
        how = power_cut(disk.steps[:cut], where, chance)
        acknowledged = {int(step.name) for step in disk.steps[:cut] if step.what == "mark"}
        try:
            try:
                store = Store(where / "store.db", [GROUPS], synchronous="NORMAL")
            except Damaged as refusal:
                if not advised:
                    raise
                follow(refusal)
                store = Store(where / "store.db", [GROUPS], synchronous="NORMAL")
            found = groups(store)
            store.write(group(10_000, 3))
            assert groups(store) == found | {10_000}
            store.close()
            missing = acknowledged - found
            if missing:
                wrong.append(f"after step {cut} of {len(disk.steps)} ({how}): {sorted(missing)} missing")
        except (AssertionError, sqlite3.Error, Unavailable, OSError) as problem:
            wrong.append(f"after step {cut} of {len(disk.steps)} ({how}): {problem!r}")
        shutil.rmtree(where, ignore_errors=True)
    return wrong


def moments(disk: Disk, chance: random.Random, states: int) -> list[int]:
    """When to look at the disk."""
    return [chance.randrange(len(disk.steps) + 1) for _ in range(states)]


def follow(refusal: Damaged) -> None:
    """Run the command that a refusal names."""
    command = str(refusal).rpartition("run: ")[2].split()
    assert command[:2] == ["truncate", "-s"]
    os.truncate(command[3], int(command[2]))


def dice() -> random.Random:
    """The same ones each time, unless CRASH_SEED says others: `make test-crash` does."""
    seed = int(os.environ.get("CRASH_SEED", "2026"))
    print(f"CRASH_SEED={seed}")
    return random.Random(seed)


@pytest.mark.usefixtures("hurried")
def test_a_power_cut_at_any_moment_loses_nothing_acknowledged_and_shows_no_half(tmp_path: Path) -> None:
    """Torn writes, lost writes, writes out of order, junk where a file grew, names and deletions that did not last."""
    chance, disk = dice(), Disk()
    record(tmp_path, disk)
    assert lost(disk, tmp_path, chance, moments(disk, chance, STATES)) == []


@pytest.mark.usefixtures("hurried")
def test_the_simulated_disk_would_notice(tmp_path: Path) -> None:
    """Without a sync for each commit, acknowledged groups are missing after some power cut: the test before can fail."""
    disk = Disk()
    record(tmp_path, disk, synchronous="NORMAL")
    chance = random.Random(1)
    problems = lost(disk, tmp_path, chance, moments(disk, chance, 60))
    assert any("missing" in problem or "Damaged" in problem for problem in problems)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("code", [IOERR_FSYNC, IOERR_WRITE, FULL])
def test_what_was_acknowledged_on_a_failing_disk_survives_the_power_cut_too(tmp_path: Path, code: int) -> None:
    """Every fifth sync (or write, half done) fails, and what a failed sync should have saved stays in doubt for ever."""
    chance = dice()
    what = "sync" if code == IOERR_FSYNC else "write"

    def answer(step: Step) -> int:
        return code if step.what == what and chance.random() < 0.2 else OK

    disk = Disk(answer)
    record(tmp_path, disk)
    assert sum(step.what == "mark" for step in disk.steps) > 60
    assert lost(disk, tmp_path, chance, moments(disk, chance, STATES), advised=True) == []


def test_a_sync_that_fails_refuses_the_change_and_tells_nobody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither readers nor calls after the commit hear of it; the next change is taken.

    It is said once, also where a change goes in now and then, as on a full disk.
    """
    failing = False
    with watched(Disk(lambda step: IOERR_FSYNC if failing and step.what == "sync" else OK)):
        store = Store(tmp_path / "store.db", [GROUPS])
        store.write(group(1, 2))
        failing = True
        told: list[str] = []
        for number in (2, 3):
            with pytest.raises(Unavailable, match="its disk gives errors"):
                store.write(lambda tx, number=number: (group(number, 2)(tx), tx.on_commit(lambda: told.append("told"))))
        assert (groups(store), told) == ({1}, [])
        failing = False
        store.write(group(2, 2))
        assert groups(store) == {1, 2}
        failing = True
        with pytest.raises(Unavailable, match="its disk gives errors"):
            store.probe()
        failing = False
        monkeypatch.setattr(refusals, "CALM", 0.0)
        store.probe()
        store.close()
    said = [record.getMessage() for record in caplog.records]
    assert [message.split(": ")[0].removeprefix(str(tmp_path)) for message in said] == [
        "writing is refused until this is mended",
        "/store.db can be written again",
    ]


def test_a_connection_that_will_not_roll_back_is_replaced(tmp_path: Path) -> None:
    """Its callers are told, nobody waits for ever, and once a new one can be opened, writing goes on."""

    class Stuck:
        in_transaction = True

        def execute(self, sql: str) -> None:
            raise sqlite3.OperationalError("stuck") from None

        def close(self) -> None:
            plain.close()

    store = Store(tmp_path / "store.db", [GROUPS])
    plain, store._connection = store._connection, Stuck()  # type: ignore[assignment]
    with pytest.raises(sqlite3.OperationalError, match="stuck"):
        store.write(group(1, 1))
    store.write(group(2, 1))
    assert groups(store) == {2}
    store.close()


# What a start finds.


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The files that a process left that wrote 12 groups and was killed."""
    (tmp_path / "alive").mkdir()
    store = Store(tmp_path / "alive" / "store.db", [GROUPS])
    for number in range(12):
        store.write(group(number, 3))
    left = tmp_path / "left"
    left.mkdir()
    for name in ("store.db", "store.db-wal"):
        shutil.copy(tmp_path / "alive" / name, left)
    store.close()
    return left / "store.db"


def start(path: Path) -> set[int]:
    store = Store(path, [GROUPS], synchronous="NORMAL")
    found = groups(store)
    store.close()
    return found


def commits(log: Path) -> list[int]:
    """Where the frame of each commit of a log ends, by the format's description."""
    content = log.read_bytes()
    page = int.from_bytes(content[8:12])
    starts = range(32, len(content), 24 + page)
    return [start + 24 + page for start in starts if content[start + 4 : start + 8] != bytes(4)]


def test_what_a_kill_left_is_taken_without_a_word(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whole commits, nothing behind them: there is nothing to say."""
    assert start(killed) == set(range(12))
    assert caplog.text == ""


def test_a_log_that_ends_at_any_sector_is_repaired_and_that_is_reported(
    killed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut, or zeroed, or junk from there on, anywhere in the last change: the others stay, and the bytes are counted."""
    whole = (killed.parent / "store.db-wal").read_bytes()
    *_, before, end = commits(killed.parent / "store.db-wal")
    for cut in range(before + 24, end, 512):
        for rest in (b"", bytes(end - cut), random.Random(cut).randbytes(end - cut)):
            caplog.clear()
            copy = Path(shutil.copytree(killed.parent, killed.parent.parent / "copy"))
            (copy / "store.db-wal").write_bytes(whole[:cut] + rest)
            assert start(copy / "store.db") == set(range(11))
            (message,) = [record.getMessage() for record in caplog.records]
            assert "were not complete and were dropped" in message
            assert before + int(message.split()[2]) in range(before + 24, end + 1)
            shutil.rmtree(copy)


def test_a_log_that_rotted_behind_a_sync_refuses_the_start_and_says_how_to_go_on(killed: Path) -> None:
    """A bit anywhere before the last two: acknowledged changes are lost, so nothing is touched until somebody decides."""
    log = killed.parent / "store.db-wal"
    whole = log.read_bytes()
    *_, last_but_two, _, _ = commits(log)
    for place in (last_but_two // 2, last_but_two - 1, last_but_two + 12, last_but_two + 40):
        rotten = bytearray(whole)
        rotten[place] ^= 1
        log.write_bytes(rotten)
        with pytest.raises(
            Damaged, match=r"damaged at byte \d+, and changes behind it had been acknowledged"
        ) as refusal:
            Store(killed, [GROUPS])
        assert log.read_bytes() == rotten
    follow(refusal.value)
    assert start(killed) == set(range(10))


@pytest.mark.parametrize("place", [12, 15])
def test_a_log_whose_count_of_checkpoints_is_spoilt_is_mended(
    killed: Path, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its checksums leave one value only, so nothing is lost."""
    log = killed.parent / "store.db-wal"
    rotten = bytearray(log.read_bytes())
    rotten[place] ^= 1
    log.write_bytes(rotten)
    assert start(killed) == set(range(12))
    assert "was set right: nothing is lost" in caplog.text


@pytest.mark.usefixtures("hurried")
def test_a_power_cut_when_half_of_the_head_of_a_log_was_written_loses_nothing(tmp_path: Path) -> None:
    """The disk fails at the first try to begin the log anew each time, and loses its power right there."""
    tries = itertools.count()

    def answer(step: Step) -> int:
        head = step.what == "write" and step.name.endswith("-wal") and step.offset == 0
        return IOERR_WRITE if head and next(tries) % 2 else OK

    disk = Disk(answer)
    record(tmp_path, disk)
    cuts = [cut for cut, step in enumerate(disk.steps, 1) if step.what == "write" and len(step.data) == 16]
    assert cuts
    assert lost(disk, tmp_path, dice(), cuts) == []


@pytest.mark.parametrize("place", [3, 9, 16, 28])
def test_a_log_whose_head_rotted_refuses_the_start(killed: Path, place: int) -> None:
    """SQLite would take such a log for an empty one."""
    log = killed.parent / "store.db-wal"
    rotten = bytearray(log.read_bytes())
    rotten[place] ^= 1
    log.write_bytes(rotten)
    with pytest.raises(Damaged, match="damaged at its beginning"):
        Store(killed, [GROUPS])
    assert log.read_bytes() == rotten


def test_a_log_without_its_file_refuses_the_start(killed: Path) -> None:
    """SQLite would remove it."""
    for spoil in (lambda: killed.write_bytes(b""), killed.unlink):
        spoil()
        with pytest.raises(Damaged, match=r"is missing or empty, but its log store\.db-wal holds changes"):
            Store(killed, [GROUPS])
        assert (killed.parent / "store.db-wal").stat().st_size > 10_000


def test_a_file_that_is_cut_off_or_rotten_refuses_the_start(tmp_path: Path) -> None:
    """A file shorter than it says, and, after a crash, a page that is none."""
    path = tmp_path / "store.db"
    store = Store(path, [GROUPS])
    for number in range(20):
        store.write(group(number, 3))
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Damaged, match="it is damaged; stop, keep a copy of the folder, and restore the last backup"):
        Store(path, [GROUPS])
    rotten = bytearray(whole)
    for page in range(8, len(whole) // 4096):
        rotten[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    path.write_bytes(rotten)
    with closing(sqlite3.connect(path)) as other:  # what a crash leaves
        other.execute("CREATE TABLE crashed (x)")
        log = (tmp_path / "store.db-wal").read_bytes()
    (tmp_path / "store.db-wal").write_bytes(log)
    with pytest.raises(Damaged, match="it is damaged"):
        Store(path, [GROUPS])
