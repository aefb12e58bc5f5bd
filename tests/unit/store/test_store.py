"""The store: one file, one owner, one writer; what is acknowledged is on the disk."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import pytest

from greenlight.lib.errors import Unavailable
from greenlight.store import Locked, Newer, Schema, Store, Tx
from support.timing import PATIENCE

NUMBERS = Schema("numbers", ("CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of a test lies: in a folder that is not there yet."""
    return tmp_path / "data" / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """An empty store of numbers."""
    store = Store(path, [NUMBERS])
    yield store
    store.close()


def insert(n: int):
    """A change that adds `n` and returns it."""

    def change(tx: Tx) -> int:
        tx.execute("INSERT INTO numbers (n) VALUES (?)", (n,))
        return n

    return change


def numbers(store: Store) -> list[int]:
    """What a reader sees."""
    with store.read() as connection:
        return [n for (n,) in connection.execute("SELECT n FROM numbers ORDER BY n")]


class Held:
    """A writer thread that is kept busy, so that what is submitted meanwhile lands in one batch."""

    def __init__(self, store: Store) -> None:
        self._free = threading.Event()
        started = threading.Event()

        def busy(tx: Tx) -> None:
            started.set()
            assert self._free.wait(PATIENCE)

        self._future = store.submit(busy)
        assert started.wait(PATIENCE)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._free.set()
        self._future.result(10)


def test_a_written_row_is_seen_by_the_next_read_and_after_reopening(store: Store, path: Path) -> None:
    """write returns the change's result, and the row outlives the store."""
    assert store.write(insert(7)) == 7
    assert numbers(store) == [7]
    store.close()
    again = Store(path, [NUMBERS])
    assert numbers(again) == [7]
    again.close()


def test_every_commit_is_synced_in_full_whatever_the_build_defaults_to(store: Store) -> None:
    """WAL with synchronous = FULL (2) is what makes an acknowledgement survive a power cut."""
    assert store.write(lambda tx: tx.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert store.write(lambda tx: tx.execute("PRAGMA journal_mode").fetchone()) == ("wal",)


def test_changes_that_wait_share_one_commit_and_keep_their_order(store: Store) -> None:
    """While the writer is busy, others queue up; they are committed together, in order."""
    commits: list[int] = []
    with Held(store):
        futures = [
            store.submit(lambda tx, n=n: (insert(n)(tx), tx.on_commit(lambda: commits.append(seen(n)))))
            for n in range(5)
        ]
        seen = lambda n: len(numbers(store))  # noqa: E731
    for future in futures:
        future.result(10)
    assert commits == [5] * 5, "the first call after the commit already sees all five"


def test_a_failing_change_undoes_its_own_work_alone(store: Store) -> None:
    """In one batch: its neighbours are committed, its error is its caller's, its calls after the commit are dropped."""
    called: list[str] = []

    def fails(tx: Tx) -> None:
        tx.execute("INSERT INTO numbers (n) VALUES (2)")
        tx.on_commit(lambda: called.append("fails"))
        raise LookupError("of its own")

    with Held(store):
        before, failing, wrong, after = (store.submit(change) for change in (insert(1), fails, insert(1), insert(3)))
    assert before.result(10) == 1
    assert after.result(10) == 3
    with pytest.raises(LookupError, match="of its own"):
        failing.result(10)
    with pytest.raises(sqlite3.IntegrityError):
        wrong.result(10)
    assert numbers(store) == [1, 3]
    assert called == []


def test_a_change_that_refused_before_it_wrote_costs_its_neighbours_nothing(store: Store) -> None:
    """They are not made again, and who refused hears of it when what it read can be read by all."""
    runs: list[str] = []
    heard: SimpleQueue[list[int]] = SimpleQueue()

    def counted(n: int) -> Callable[[Tx], int]:
        def change(tx: Tx) -> int:
            runs.append("writes")
            return insert(n)(tx)

        return change

    def refuses(tx: Tx) -> None:
        tx.execute("UPDATE numbers SET n = 9 WHERE n = 8")
        raise LookupError(f"there are {tx.execute('SELECT count(*) FROM numbers').fetchone()}")

    with Held(store):
        before, refused, after = (store.submit(change) for change in (counted(1), refuses, counted(3)))
        refused.add_done_callback(lambda _: heard.put(numbers(store)))
    assert (before.result(10), after.result(10)) == (1, 3)
    with pytest.raises(LookupError, match="there are"):
        refused.result(10)
    assert runs == ["writes", "writes"]
    assert heard.get(timeout=PATIENCE) == [1, 3]


def test_rows_that_a_change_did_not_read_do_not_block_the_commit(store: Store) -> None:
    """Its cursors end with it, however long somebody keeps them; so they do when it fails."""
    kept: list[sqlite3.Cursor] = []

    def unfinished(tx: Tx) -> None:
        kept.append(tx.execute("INSERT INTO numbers (n) VALUES (1), (2) RETURNING n"))
        assert kept[-1].fetchone() == (1,)

    def fails(tx: Tx) -> None:
        kept.append(tx.execute("INSERT INTO numbers (n) VALUES (4), (5) RETURNING n"))
        raise LookupError

    store.write(unfinished)
    with pytest.raises(LookupError):
        store.write(fails)
    assert store.write(insert(3)) == 3
    assert numbers(store) == [1, 2, 3]
    with pytest.raises(sqlite3.ProgrammingError):
        kept[0].fetchone()


def test_what_a_call_after_the_commit_raises_harms_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the caller gets the result, the writer goes on."""

    def change(tx: Tx) -> str:
        tx.on_commit(lambda: 1 // 0)
        return "done"

    assert store.write(change) == "done"
    assert store.write(insert(1)) == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_tx_is_dead_outside_its_change(store: Store) -> None:
    """Nobody can write past the queue."""
    kept: list[Tx] = []
    store.write(kept.append)
    with pytest.raises(RuntimeError, match="only inside its change"):
        kept[0].execute("DELETE FROM numbers")


def test_a_change_that_waits_for_another_one_is_told_instead_of_hanging(store: Store) -> None:
    """The writer thread cannot wait for itself."""
    with pytest.raises(RuntimeError, match="cannot wait"):
        store.write(lambda tx: store.write(insert(1)))


def test_a_cancelled_change_is_not_made(store: Store) -> None:
    """A future that nobody wants any more costs nothing."""
    with Held(store):
        assert store.submit(insert(1)).cancel()
    assert store.write(insert(2)) == 2
    assert numbers(store) == [2]


def test_readers_go_on_while_a_change_is_open_and_see_only_commits(store: Store) -> None:
    """A read neither waits for the writer nor sees what is not durable, and may nest."""
    wrote, free = threading.Event(), threading.Event()

    def change(tx: Tx) -> None:
        insert(1)(tx)
        wrote.set()
        assert free.wait(PATIENCE)

    future = store.submit(change)
    assert wrote.wait(PATIENCE)
    assert numbers(store) == []
    free.set()
    future.result(10)
    with store.read() as outer:
        assert numbers(store) == [1]
        store.write(insert(2))
        assert outer.execute("SELECT count(*) FROM numbers").fetchone() == (2,)


def test_a_reader_can_hold_one_state_and_leaves_none_behind(store: Store) -> None:
    """BEGIN gives several SELECTs one snapshot; the next user of the connection sees the newest commit."""
    with store.read() as connection:
        connection.execute("BEGIN")
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (0,)
        store.write(insert(1))
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (0,)
    assert numbers(store) == [1]


def test_a_reader_cannot_write(store: Store) -> None:
    """There is one writer, and it is not a reader."""
    with pytest.raises(Unavailable, match="readonly"), store.read() as connection:
        connection.execute("DELETE FROM numbers")


def test_a_full_disk_refuses_writes_keeps_reads_and_recovers(store: Store, path: Path) -> None:
    """SQLITE_FULL: everybody in the batch is told, nothing of it stays, and later writes work."""
    store.write(insert(1))
    (pages,) = store.write(lambda tx: tx.execute("PRAGMA page_count").fetchone())
    store.write(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone())
    fill = lambda tx: tx.execute("INSERT INTO numbers VALUES (2, ?)", ("x" * 100_000,))  # noqa: E731
    with pytest.raises(Unavailable, match=r"store\.db: .*full: no space is left") as told:
        store.write(fill)
    assert isinstance(told.value, Unavailable)
    assert numbers(store) == [1]
    store.write(lambda tx: tx.execute("PRAGMA max_page_count = 1000000").fetchone())
    store.write(fill)
    assert numbers(store) == [1, 2]


@pytest.mark.parametrize("name", ["store.db", "store.db-wal"])
def test_a_file_that_a_hand_took_away_is_written_to_no_more(store: Store, path: Path, name: str) -> None:
    """Nothing is acknowledged that the next start would not find; once the file is back, it goes on by itself."""
    store.write(insert(1))
    file, away = path.with_name(name), path.with_name("away")
    file.rename(away)
    with pytest.raises(Unavailable, match=rf"{name}: was removed, moved or replaced"):
        store.write(insert(2))
    shutil.copy(away, file)
    with pytest.raises(Unavailable, match="restore the last backup"):
        store.probe()
    away.rename(file)
    store.write(insert(3))
    assert numbers(store) == [1, 3]


FILE_LIMIT = """
import resource, sys
from pathlib import Path
from queue import SimpleQueue
from greenlight.lib.errors import Unavailable
from greenlight.store import Schema, Store

store = Store(Path(sys.argv[1]), [Schema("numbers", ("CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)",))])
put = lambda n: store.write(lambda tx: tx.execute("INSERT INTO numbers VALUES (?, ?)", (n, "x" * 50_000)))
put(0)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
refused = None
for n in range(1, 50):
    try:
        put(n)
    except Unavailable:
        refused = n
        break
assert refused, "the disk never filled up"
with store.read() as connection:
    assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (refused,)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
put(refused)
store.close()
print(refused + 1)
"""


def test_a_write_that_the_operating_system_refuses_is_survived(path: Path) -> None:
    """The log cannot grow: the write fails as Unavailable, reads go on, and so do writes once it can grow again."""
    done = subprocess.run([sys.executable, "-c", FILE_LIMIT, path], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    store = Store(path, [NUMBERS])
    assert len(numbers(store)) == int(done.stdout)
    store.close()


def test_a_second_owner_is_refused_at_once_and_told_whose_it_is(store: Store, path: Path) -> None:
    """The message names the file, the process and the way out; the first owner is not disturbed."""
    with pytest.raises(Locked, match=rf"store\.db is in use by process {os.getpid()}: stop it first"):
        Store(path, [NUMBERS])
    store.close()
    Store(path, [NUMBERS]).close()


def test_migrations_run_once_in_order_and_a_failing_one_leaves_the_version_before_it(path: Path) -> None:
    """From n to n+1 with the rows kept; a script that fails halfway is undone as a whole."""
    store = Store(path, [NUMBERS])
    store.write(insert(1))
    store.close()
    more = (
        *NUMBERS.migrations,
        "ALTER TABLE numbers ADD COLUMN extra TEXT DEFAULT 'new'; CREATE INDEX e ON numbers (extra);",
    )
    with pytest.raises(sqlite3.OperationalError):
        Store(path, [Schema("numbers", (*more, "CREATE TABLE half (x); SELECT * FROM nowhere;"))])
    for _ in range(2):
        store = Store(path, [Schema("numbers", (*more, "CREATE TABLE half (x) -- a comment ends it"))])
        with store.read() as connection:
            assert connection.execute("SELECT n, extra FROM numbers").fetchall() == [(1, "new")]
            assert connection.execute("SELECT * FROM schema_version").fetchall() == [("numbers", 3)]
        store.close()


def test_tables_of_a_newer_version_are_not_touched(path: Path) -> None:
    """An older program says so instead of guessing."""
    Store(path, [Schema("numbers", (*NUMBERS.migrations, "CREATE TABLE other (x)"))]).close()
    with pytest.raises(Newer, match="the numbers tables have version 2, and this Greenlight knows 1"):
        Store(path, [NUMBERS])
    Store(path, [Schema("numbers", (*NUMBERS.migrations, "CREATE TABLE other (x)"))]).close()


def test_a_file_that_is_no_store_is_named(path: Path) -> None:
    """The message says which file and what to do."""
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unavailable, match=r"store\.db: file is not a database"):
        Store(path, [NUMBERS])


def test_close_finishes_what_is_queued_and_refuses_the_rest(store: Store, path: Path) -> None:
    """Nothing that was submitted before is lost, and nobody waits for ever."""
    with Held(store):
        futures = [store.submit(insert(n)) for n in range(600)]
        closing = threading.Thread(target=store.close)
        closing.start()
    closing.join(10)
    assert [future.result(0) for future in futures] == list(range(600))
    with pytest.raises(Unavailable, match="closed"):
        store.submit(insert(1))
    with pytest.raises(Unavailable, match="closed"):
        numbers(store)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["store.db", "store.db.lock"]


COUNT = """
import sys, threading
from pathlib import Path
from queue import SimpleQueue
from greenlight.store import Store, Schema

store = Store(Path(sys.argv[1]), [Schema("numbers", ("CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)",))])
out = threading.Lock()

def count(start):
    n = start
    while True:
        store.write(lambda tx: tx.execute("INSERT INTO numbers (n) VALUES (?)", (n,)))
        with out:
            sys.stdout.write(f"{n}\\n")
            sys.stdout.flush()
        n += 4

for thread in range(4):
    threading.Thread(target=count, args=(int(sys.argv[2]) + thread,)).start()
"""


def test_every_acknowledged_write_survives_kill_9(path: Path) -> None:
    """Ten times: four threads write and acknowledge, then SIGKILL, later each time: all acknowledged is there."""
    acknowledged: set[int] = set()
    for round in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", COUNT, path, str(round * 1_000_000)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert process.stdout is not None
        with process.stdout:
            for _ in range(1 + 37 * round):
                acknowledged.add(int(process.stdout.readline()))
            process.send_signal(signal.SIGKILL)
            acknowledged.update(int(line) for line in process.stdout if line.endswith("\n"))
        assert process.wait(PATIENCE) == -signal.SIGKILL
        store = Store(path, [NUMBERS])
        kept = set(numbers(store))
        store.close()
        assert acknowledged <= kept
        assert len(kept - acknowledged) <= 4 * (round + 1), "at most one unacknowledged write for each thread and kill"


def test_a_foreign_reader_keeps_nobody_from_starting(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A backup that has begun goes on reading what it began with; the start after a crash has all that was acknowledged."""
    acknowledged: set[int] = set()
    process = subprocess.Popen(
        [sys.executable, "-c", COUNT, path, "0"], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    acknowledged.add(int(process.stdout.readline()))
    with process.stdout, closing(sqlite3.connect(path)) as backup:
        backup.execute("BEGIN")
        (seen,) = backup.execute("SELECT count(*) FROM numbers").fetchone()
        acknowledged |= {int(process.stdout.readline()) for _ in range(200)}
        process.send_signal(signal.SIGKILL)
        acknowledged.update(int(line) for line in process.stdout if line.endswith("\n"))
        process.wait(PATIENCE)
        for _ in range(3):  # it may be there for many a start, the last of which ended in order
            store = Store(path, [NUMBERS])
            assert acknowledged <= set(numbers(store))
            store.write(insert(max(acknowledged) + 1_000_000))
            acknowledged = set(numbers(store))
            store.close()
            assert backup.execute("SELECT count(*) FROM numbers").fetchone() == (seen,)
        assert "a foreign program reads" in caplog.text
    store = Store(path, [NUMBERS])
    assert acknowledged == set(numbers(store))
    store.close()


def environment() -> dict[str, str]:
    """For a Python that finds the package under test."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_relative_path_is_where_the_process_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and writing find the same file, also once the working folder is another one."""
    monkeypatch.chdir(tmp_path)
    store = Store(Path("store.db"), [NUMBERS])
    monkeypatch.chdir("/")
    try:
        store.write(insert(1))
        assert numbers(store) == [1]
    finally:
        store.close()
    assert (tmp_path / "store.db").exists()
