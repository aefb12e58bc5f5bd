"""Files that only their owner reads, whatever the umask and whoever made them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenlight.lib.files import keep_private, make_folder, private
from greenlight.store import Schema, Store


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """What others and the owner may do, by path."""
    return {path.name: oct(path.lstat().st_mode & 0o7777) for path in [folder, *folder.rglob("*")]}


def test_what_is_made_is_the_owners_alone(tmp_path: Path, umask: None) -> None:
    """Folders with all their parents, and files that are new or were open to others before."""
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "old").touch()
    (tmp_path / "a" / "old").chmod(0o666)
    for name in ("old", "new"):
        with open(tmp_path / "a" / name, "w", opener=private) as file:
            file.write(name)
    assert modes(tmp_path / "a") == {"a": "0o700", "b": "0o700", "old": "0o600", "new": "0o600"}


def test_a_database_its_log_and_its_index_are_the_owners_alone(tmp_path: Path, umask: None) -> None:
    """Also the lock beside them."""
    store = Store(tmp_path / "data" / "x.db", [Schema("test", ("CREATE TABLE t (a);",))])
    store.write(lambda tx: tx.execute("INSERT INTO t VALUES (1)"))
    made = modes(tmp_path / "data")
    store.close()
    assert made.pop("data") == "0o700"
    assert set(made) == {"x.db", "x.db-wal", "x.db-shm", "x.db.lock"}
    assert set(made.values()) == {"0o600"}


def test_what_an_older_version_left_is_closed_to_others(tmp_path: Path) -> None:
    """Files and folders at any depth; what the owner may do stays, and what a link leads to is not ours."""
    data, outside = tmp_path / "data", tmp_path / "outside"
    (data / "deployer" / "output").mkdir(parents=True)
    outside.write_text("somebody else's")
    for path, mode in ((data / "x.db", 0o644), (data / "deployer" / "output" / "a.log", 0o664), (data / "tool", 0o755)):
        path.touch()
        path.chmod(mode)
    outside.chmod(0o644)
    (data / "link").symlink_to(outside)
    for folder in (data, data / "deployer", data / "deployer" / "output"):
        folder.chmod(0o755)
    assert keep_private(data) == []
    found = modes(data)
    del found["link"]
    folders = dict.fromkeys(("data", "deployer", "output"), "0o700")
    assert found == {**folders, "x.db": "0o600", "a.log": "0o600", "tool": "0o700"}
    assert oct(outside.stat().st_mode & 0o777) == "0o644"


def test_what_cannot_be_closed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to somebody else, say; the rest is closed."""
    for name in ("a", "b"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    real = Path.chmod

    def refuse(path: Path, mode: int) -> None:
        if path.name == "a":
            raise PermissionError(1, "Operation not permitted")
        real(path, mode)

    monkeypatch.setattr(Path, "chmod", refuse)
    assert keep_private(tmp_path) == [tmp_path / "a"]
    assert oct((tmp_path / "b").stat().st_mode & 0o777) == "0o600"
