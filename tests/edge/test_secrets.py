"""The folder of secrets: what a file says, for whom, and how it is rotated while everything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from greenlight.lib.errors import ConfigurationError
from greenlight.service.secrets import FOLDER, Secrets, create
from greenlight.telemetry import metrics
from greenlight.webhooks.providers.registry import FILES
from support.flow import push_payload
from support.process import no_files_left
from support.webhooks import Rig

WHSEC = b"whsec_c2NhbiBzZWNyZXQgb2YgdGhlIHRlc3Rz"


@pytest.fixture(autouse=True)
def no_problems() -> None:
    """Forget what the metric has of other tests."""
    metrics.SECRETS_UNREADABLE.clear()


class Clock:
    """One that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


def values(secrets: Secrets, sender: str = "github") -> list[bytes]:
    return [secret.value for secret in secrets.of(sender)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"one\n", [b"one"]),
        (b"one", [b"one"]),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\r\ntwo\r\n", [b"one", b"two"]),
        (b"\n  \t\none\n\r\n \r\n", [b"one"]),
        (b" with spaces \n", [b" with spaces "]),
        ("gehe\u00efm\n".encode(), ["gehe\u00efm".encode()]),
    ],
)
def test_a_secret_is_a_line(tmp_path: Path, text: bytes, expected: list[bytes]) -> None:
    """It ends in LF or CRLF; one of white space is blank; nothing else is taken away."""
    (tmp_path / "github").write_bytes(text)
    assert values(Secrets(tmp_path, FILES)) == expected


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("github", b"", "holds no secret"),
        ("github", b"\n \r\n\t\n", "holds no secret"),
        ("gate-scan", b"plain\n", "secret 1: a Standard Webhooks secret"),
        ("events-scanner", WHSEC + b"\nwhsec_\n", "secret 2: a Standard Webhooks secret"),
        ("gate-scan", "whsec_\u00e9\n".encode(), "secret 1: a Standard Webhooks secret"),
        ("gitlab", b"one\n", "the name is none of circleci, events-SENDER, gate-NAME, github"),
        ("github@acme+shop+x", b"one\n", "the name is none of circleci, events-SENDER, gate-NAME, github"),
        ("gate-", b"one\n", "the name is none of circleci, events-SENDER, gate-NAME, github"),
        ("github", "one\n".encode("utf-16"), "a byte order mark, NUL bytes or"),
        ("circleci", "one\n".encode("utf-8-sig"), "a byte order mark, NUL bytes or"),
    ],
)
def test_a_file_that_gives_no_secret_stops_the_start(tmp_path: Path, name: str, text: bytes, told: str) -> None:
    """With its path, what is wrong, and nothing of its content."""
    (tmp_path / name).write_bytes(text)
    with pytest.raises(ConfigurationError, match=told) as problem:
        Secrets(tmp_path, FILES)
    assert str(tmp_path / name) in str(problem.value)
    assert "plain" not in str(problem.value)


def test_without_its_folder_nothing_starts(tmp_path: Path) -> None:
    """It says what belongs there."""
    with pytest.raises(ConfigurationError, match="a file per sender"):
        Secrets(tmp_path / "missing", FILES)


def test_a_secret_is_rotated_without_a_restart(tmp_path: Path) -> None:
    """The new line counts within 10 s, beside the old one; the old one is gone as soon as its line is."""
    clock, file = Clock(), tmp_path / "github"
    file.write_bytes(b"old\n")
    secrets = Secrets(tmp_path, FILES, clock)
    for text, expected in ((b"old\nnew\n", [b"old", b"new"]), (b"new\n", [b"new"]), (b"", []), (b"mew\n", [b"mew"])):
        file.write_bytes(text)
        clock.seconds += 9.9
        assert values(secrets) == expected
        assert not secrets.unread("github")
    (tmp_path / "github@acme").write_bytes(b"more\n")
    clock.seconds += 9.9
    assert values(secrets) == [b"mew", b"more"]
    file.unlink()
    clock.seconds += 9.9
    assert values(secrets) == [b"more"]


def test_a_change_is_seen_whatever_the_file_looks_like(tmp_path: Path) -> None:
    """As long as before, and with the old time of change, as `cp -p` and `rsync -t` leave it."""
    clock, file = Clock(), tmp_path / "github"
    file.write_bytes(b"one\n")
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    secrets = Secrets(tmp_path, FILES, clock)
    deadline = datetime.now(UTC).timestamp() + 5
    while file.stat().st_ctime_ns == times[1] and datetime.now(UTC).timestamp() < deadline:
        file.write_bytes(b"two\n")  # until the kernel's clock has ticked
    os.utime(file, ns=times)
    clock.seconds += 9.9
    assert values(secrets) == [b"two"]


def test_the_secrets_of_a_cluster_change_behind_a_link(tmp_path: Path) -> None:
    """Kubernetes mounts links through `..data`, and swaps that; a link that leads nowhere hides nothing."""
    clock = Clock()
    for version in ("..one", "..two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "github").write_text(f"{version[2:]}\n")
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "github").symlink_to("..data/github")
    secrets = Secrets(tmp_path, FILES, clock)
    assert values(secrets) == [b"one"]
    (tmp_path / "circleci").symlink_to("..data/circleci")
    clock.seconds += 9.9
    assert values(secrets) == [b"one"]
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    clock.seconds += 9.9
    assert values(secrets) == [b"two"]
    assert values(secrets, "circleci") == []


def unreadable() -> dict[str, float]:
    """The files that the metric names as unreadable or spoiled."""
    samples = [row for metric in REGISTRY.collect() for row in metric.samples]
    return {
        row.labels["file"]: row.value for row in samples if row.name == "greenlight_secrets_unreadable" and row.value
    }


Break = Callable[[Path], AbstractContextManager[None]]


@contextmanager
def moved_away(folder: Path) -> Iterator[None]:
    folder.rename(folder.with_name("elsewhere"))
    yield
    folder.with_name("elsewhere").rename(folder)


@contextmanager
def another_in_its_place(folder: Path) -> Iterator[None]:
    """What a mount that went away leaves behind."""
    with moved_away(folder):
        folder.mkdir()
        yield
        folder.rmdir()


@contextmanager
def a_file_in_its_place(folder: Path) -> Iterator[None]:
    with moved_away(folder):
        folder.write_text("")
        yield
        folder.unlink()


@contextmanager
def out_of_files(folder: Path) -> Iterator[None]:
    with no_files_left():
        yield


@pytest.mark.parametrize("break_", [moved_away, another_in_its_place, a_file_in_its_place, out_of_files])
def test_while_the_folder_cannot_be_read_the_last_good_secrets_stay(
    tmp_path: Path, break_: Break, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log once, and a metric shows it for as long as it lasts; then the folder is read again."""
    clock, folder = Clock(), tmp_path / "secrets"
    folder.mkdir()
    (folder / "github").write_bytes(b"one\n")
    secrets = Secrets(folder, FILES, clock)
    with break_(folder):
        for _ in range(3):
            clock.seconds += 9.9
            assert values(secrets) == [b"one"]
        assert not secrets.unread("github")
        assert secrets.unread("circleci"), "there may be secrets of it now, and nobody can know"
        assert unreadable() == {FOLDER: 1}
        assert secrets.is_unreadable()
    assert [row.levelname for row in caplog.records] == ["ERROR"]
    assert str(folder) in caplog.text
    (folder / "github").write_bytes(b"two\n")
    clock.seconds += 9.9
    assert values(secrets) == [b"two"]
    assert not secrets.is_unreadable()
    assert not secrets.unread("circleci")
    assert unreadable() == {}
    assert "is valid again" in caplog.records[-1].message


def as_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def as_a_link_to_nowhere(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def as_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def as_noise(file: Path) -> None:
    file.write_bytes(b"tw\xff\xfeo\n")


def as_a_picture(file: Path) -> None:
    file.write_bytes(b"two\n" * 100_000)


def as_utf_16(file: Path) -> None:
    file.write_text("two\n", encoding="utf-16")


def with_a_byte_order_mark(file: Path) -> None:
    file.write_text("two\n", encoding="utf-8-sig")


@pytest.mark.parametrize(
    "spoil",
    [as_a_folder, as_a_link_to_nowhere, as_a_pipe, as_noise, as_a_picture, as_utf_16, with_a_byte_order_mark],
)
def test_a_file_that_cannot_be_read_or_is_spoiled_keeps_its_last_good_secrets(
    tmp_path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """And no other file's. The log names it, without anything of what it holds."""
    clock = Clock()
    for name in ("github", "circleci"):
        (tmp_path / name).write_bytes(b"one\n")
    secrets = Secrets(tmp_path, FILES, clock)
    spoil(tmp_path / "github")
    (tmp_path / "circleci").write_bytes(b"changed\n")
    clock.seconds += 9.9
    assert (values(secrets), values(secrets, "circleci")) == ([b"one"], [b"changed"])
    assert not secrets.unread("github")
    assert unreadable() == {"github": 1}
    assert [row.levelname for row in caplog.records] == ["ERROR"]
    assert str(tmp_path / "github") in caplog.text
    assert "two" not in caplog.text
    (tmp_path / "github").rename(tmp_path / ".old")
    (tmp_path / "github").write_bytes(b"two\n")
    clock.seconds += 9.9
    assert values(secrets) == [b"two"]
    assert unreadable() == {}


def test_what_is_right_in_a_spoiled_file_counts_beside_what_was_right_before(tmp_path: Path) -> None:
    """One line with a mistake: neither the sender with the new secret nor the one with the old is shut out."""
    clock, other = Clock(), b"whsec_YW5vdGhlciBzZWNyZXQ="
    (tmp_path / "gate-scan").write_bytes(WHSEC + b"\n")
    secrets = Secrets(tmp_path, FILES, clock)
    (tmp_path / "gate-scan").write_bytes(other + b"\nno secret of this kind\n")
    clock.seconds += 9.9
    assert values(secrets, "gate-scan") == [other, WHSEC]
    (tmp_path / "gate-scan").write_bytes(other + b"\n")
    clock.seconds += 9.9
    assert values(secrets, "gate-scan") == [other]
    (tmp_path / "gate-scan").write_bytes(b"no secret of this kind\n")
    clock.seconds += 9.9
    assert values(secrets, "gate-scan") == [other]
    (tmp_path / "gate-scan").write_bytes(b"\n")
    clock.seconds += 9.9
    assert values(secrets, "gate-scan") == []
    assert not secrets.unread("gate-scan"), "an emptied file speaks for nobody, and that is known"


def test_a_sender_whose_only_file_was_never_readable_may_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 and when to come again; 401 as soon as it is known that no secret is right."""
    monkeypatch.setattr("greenlight.service.secrets.LOOK_EVERY", 0.0)
    rig = Rig(tmp_path, secrets={"circleci": b"another's"})
    file = tmp_path / "secrets" / "github"
    assert rig.github("push", push_payload("one"), secret=b"late").status_code == 401
    file.symlink_to("nowhere")
    answer = rig.github("push", push_payload("one"), secret=b"late")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert str(tmp_path) not in answer.get_data(as_text=True)
    file.unlink()
    file.write_bytes(b"late\n")
    assert rig.github("push", push_payload("one"), secret=b"late").status_code == 202
    assert rig.github("push", push_payload("one"), secret=b"wrong").status_code == 401
    rig.close()


def test_no_verdict_is_a_wrong_signature_because_no_file_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is rightly signed is taken, or may come again; what is wrongly signed is refused as ever."""
    monkeypatch.setattr("greenlight.service.secrets.LOOK_EVERY", 0.0)
    rig = Rig(tmp_path)
    rig.fact(rig.github("push", push_payload("one")))
    with no_files_left():
        right = [rig.github("push", push_payload("two")).status_code for _ in range(3)]
        wrong = rig.github("push", push_payload("two"), secret=b"wrong").status_code
    assert set(right) <= {202, 503}
    assert wrong == 401
    rig.fact(rig.github("push", push_payload("three")))
    rig.close()


@pytest.mark.parametrize(
    ("name", "repo", "speaks"),
    [
        ("github", "acme/shop", True),
        ("github@acme", "acme/shop", True),
        ("github@ACME", "acme/shop", True),
        ("github@acme", "acme-evil/shop", False),
        ("github@Acme+Shop", "acme/shop", True),
        ("github@acme+shop", "acme/shop-two", False),
        ("github@acme+shop.js", "acme/shop.js", True),
    ],
)
def test_a_file_may_speak_for_an_owner_or_one_repository(tmp_path: Path, name: str, repo: str, speaks: bool) -> None:
    """In any case of letters, and never for a name that only begins like it."""
    (tmp_path / name).write_bytes(b"one\n")
    (secret,) = Secrets(tmp_path, FILES).of("github")
    assert secret.speaks_for(repo) is speaks


def test_a_metric_per_line_shows_which_one_is_silent(tmp_path: Path) -> None:
    """From the start, before any use; whatever else is wrong with what was signed. The secret is not in it."""
    rig = Rig(tmp_path, secrets={"github": b"the old one\nthe new one"})

    def used() -> dict[str, float]:
        samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
        found = [
            row for row in samples if row.name == "greenlight_secret_used_total" and row.labels["file"] == "github"
        ]
        assert "the old one" not in str(found)
        return {row.labels["line"]: row.value for row in found}

    lines = {secret.value: secret.label for secret in rig.secrets_in_force.of("github")}
    before = used()
    assert set(lines.values()) <= set(before)
    rig.github("push", push_payload("one"), secret=b"the new one")
    rig.github("push", b"{", secret=b"the new one")
    rig.github("push", push_payload("two"), secret=b"the wrong one")
    after = used()
    assert after[lines[b"the new one"]] - before[lines[b"the new one"]] == 2
    assert after[lines[b"the old one"]] == before[lines[b"the old one"]]
    rig.close()


def test_secrets_made_on_first_use_are_of_the_form_that_their_sender_needs(tmp_path: Path) -> None:
    """Once, readable by the owner alone; a file for some repositories is a file."""
    folder = tmp_path / "secrets"
    made = create(folder, ["github", "circleci", "gate-scan"], FILES)
    assert [path.name for path in made] == ["github", "circleci", "gate-scan"]
    assert {oct(path.stat().st_mode & 0o777) for path in made} == {"0o600"}
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert len({path.read_text() for path in made}) == 3
    secrets = Secrets(folder, FILES)
    assert len(secrets.all()) == 3
    assert create(folder, ["github", "circleci", "gate-scan"], FILES) == []
    (folder / "github").rename(folder / "github@acme")
    assert create(folder, ["github"], FILES) == []
    (folder / "github@acme").rename(tmp_path / "kept")
    (folder / "github").symlink_to("nowhere")
    assert create(folder, ["github"], FILES) == [], "what it leads to is away, and nothing takes its place"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
