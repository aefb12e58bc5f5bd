"""The folder of secrets: what a file says, for whom, and how it is rotated while everything runs."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from greenlight.runtime.errors import ConfigurationError
from greenlight.runtime.secrets import Secrets, create
from support_flow import push_payload
from support_webhooks import Rig

WHSEC = b"whsec_c2NhbiBzZWNyZXQgb2YgdGhlIHRlc3Rz"


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
    assert values(Secrets(tmp_path)) == expected


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("github", b"", "holds no secret"),
        ("github", b"\n \r\n\t\n", "holds no secret"),
        ("gate-scan", b"plain\n", "secret 1: a Standard Webhooks secret"),
        ("events-scanner", WHSEC + b"\nwhsec_\n", "secret 2: a Standard Webhooks secret"),
        ("gate-scan", "whsec_\u00e9\n".encode(), "secret 1: a Standard Webhooks secret"),
        ("gitlab", b"one\n", "the name is not github, circleci"),
        ("github@acme+shop+x", b"one\n", "the name is not github, circleci"),
        ("gate-", b"one\n", "the name is not github, circleci"),
    ],
)
def test_a_file_that_gives_no_secret_stops_the_start(tmp_path: Path, name: str, text: bytes, told: str) -> None:
    """With its path, what is wrong, and nothing of its content."""
    (tmp_path / name).write_bytes(text)
    with pytest.raises(ConfigurationError, match=told) as problem:
        Secrets(tmp_path)
    assert str(tmp_path / name) in str(problem.value)
    assert "plain" not in str(problem.value)


def test_without_its_folder_nothing_starts(tmp_path: Path) -> None:
    """It says what belongs there."""
    with pytest.raises(ConfigurationError, match="a file per sender"):
        Secrets(tmp_path / "missing")


def test_a_secret_is_rotated_without_a_restart(tmp_path: Path) -> None:
    """The new line counts within 10 s, beside the old one; the old one is gone as soon as its line is."""
    clock, file = Clock(), tmp_path / "github"
    file.write_bytes(b"old\n")
    secrets = Secrets(tmp_path, clock)
    for text, expected in ((b"old\nnew\n", [b"old", b"new"]), (b"new\n", [b"new"]), (b"", []), (b"mew\n", [b"mew"])):
        file.write_bytes(text)
        clock.seconds += 9.9
        assert values(secrets) == expected
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
    secrets = Secrets(tmp_path, clock)
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
    secrets = Secrets(tmp_path, clock)
    assert values(secrets) == [b"one"]
    (tmp_path / "circleci").symlink_to("..data/circleci")
    clock.seconds += 9.9
    assert values(secrets) == [b"one"]
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    clock.seconds += 9.9
    assert values(secrets) == [b"two"]
    assert values(secrets, "circleci") == []


def test_a_folder_that_is_gone_for_a_while_speaks_for_nobody(tmp_path: Path) -> None:
    """And is read again when it is back."""
    clock, folder = Clock(), tmp_path / "secrets"
    folder.mkdir()
    (folder / "github").write_bytes(b"one\n")
    secrets = Secrets(folder, clock)
    folder.rename(tmp_path / "elsewhere")
    clock.seconds += 9.9
    assert values(secrets) == []
    (tmp_path / "elsewhere").rename(folder)
    clock.seconds += 9.9
    assert values(secrets) == [b"one"]


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
    (secret,) = Secrets(tmp_path).of("github")
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
    made = create(folder, ["github", "circleci", "gate-scan"])
    assert [path.name for path in made] == ["github", "circleci", "gate-scan"]
    assert {oct(path.stat().st_mode & 0o777) for path in made} == {"0o600"}
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert len({path.read_text() for path in made}) == 3
    secrets = Secrets(folder)
    assert len(secrets.all()) == 3
    assert create(folder, ["github", "circleci", "gate-scan"]) == []
    (folder / "github").rename(folder / "github@acme")
    assert create(folder, ["github"]) == []
