"""people.yaml: what may stand there, and how a token gets into it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import ConfigurationError
from greenlight.service.people import People, read
from support.process import no_files_left

OLD = "sha256:" + "0" * 64


def test_every_mistake_is_named_with_its_line_and_what_is_right(tmp_path: Path) -> None:
    """All of them together."""
    path = tmp_path / "people.yaml"
    path.write_text(
        "people:\n  lena:\n    groups: legal\n    mail: x\n  Omar: {}\n  kim: {tokens: [gl_plain]}\n  policy: {}\n"
    )
    with pytest.raises(ConfigurationError) as refused:
        read(path)
    said = str(refused.value).splitlines()
    assert [line.split(": ")[0].removeprefix(str(path)) for line in said] == [":2", ":2", ":5", ":6", ":7"]
    assert "unknown field 'mail'; there are name, github, subject, emails, groups, tokens" in said[0]
    assert "groups must be a list of texts, such as [legal]" in said[1]
    assert "lower-case letters" in said[2]
    assert "greenlight people token kim" in said[3]
    assert "give the person another one" in said[4], "whose requests would go through every freeze, as the policy's do"
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(path)


@contextmanager
def folder_away(folder: Path) -> Iterator[None]:
    folder.rename(folder.with_name("elsewhere"))
    yield
    folder.with_name("elsewhere").rename(folder)


@contextmanager
def out_of_files(folder: Path) -> Iterator[None]:
    with no_files_left():
        yield


@pytest.mark.parametrize("break_", [folder_away, out_of_files])
def test_while_the_file_cannot_be_read_people_stay_who_they_are(
    tmp_path: Path, break_: Callable[[Path], AbstractContextManager[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody's token is refused for it; the log says so once; an edit counts as soon as it can be read."""

    def text(token: str) -> str:
        return f"people:\n  lena: {{tokens: ['sha256:{hashlib.sha256(token.encode()).hexdigest()}']}}\n"

    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "people.yaml").write_text(text("one"))
    people = People(folder / "people.yaml", clock=SystemClock(), log=logging.getLogger("test"))
    (folder / "people.yaml").write_text(text("the other"))
    with break_(folder):
        for _ in range(3):
            assert people.by_token("one") is not None
    assert caplog.text.count("people: cannot be read now") == 1
    assert people.by_token("one") is None
    assert people.by_token("the other") is not None
    (folder / "people.yaml").unlink()
    assert people.all() == {}


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("github: ines-gh", "github: Ines-GH", "the GitHub login Ines-GH"),
        ("github: ines-gh", "github: '@ines-gh'", "the GitHub login @ines-gh"),
        ("emails: [a@acme.example, ines@acme.example]", "emails: [Ines@Acme.Example]", "the address Ines@Acme.Example"),
        ("github: ines-gh", "emails: [12+Ines-GH@users.noreply.github.com]", "the address 12+Ines-GH@users.noreply.github.com"),
        ("emails: [ines-gh@users.noreply.github.com]", "github: ines-gh", "the GitHub login ines-gh"),
        (f"tokens: ['{OLD}']", f"tokens: ['{OLD}']", "a token"),
    ],
)  # fmt: skip
def test_two_entries_that_are_one_person_are_refused(tmp_path: Path, one: str, other: str, what: str) -> None:
    """They would have two votes. The second is named with its line, and the first."""
    path = tmp_path / "people.yaml"
    path.write_text(f"people:\n  ines: {{{one}}}\n  noor: {{github: noor-gh}}\n  ines-admin: {{{other}}}\n")
    with pytest.raises(ConfigurationError) as refused:
        read(path)
    assert str(refused.value) == (
        f"{path}:4: ines-admin: has {what}, which ines has too: one person is one entry, and one vote"
    )


def test_one_entry_may_name_a_person_twice(tmp_path: Path) -> None:
    """A login, and the address that hides it."""
    path = tmp_path / "people.yaml"
    path.write_text(
        "people:\n  ines: {github: ines-gh, emails: [ines-gh@users.noreply.github.com, INES@a.b, ines@a.b]}\n"
    )
    assert len(set(read(path)["ines"].identities)) == 2


def test_an_edit_that_makes_one_person_two_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The people of before stay in force, and the log says why."""
    path = tmp_path / "people.yaml"
    path.write_text("people:\n  ines: {github: ines-gh}\n")
    people = People(path, clock=SystemClock(), log=logging.getLogger("test"))
    path.write_text("people:\n  ines: {github: ines-gh}\n  ines-admin: {github: ines-gh}\n")
    assert list(people.all()) == ["ines"]
    assert "ines-admin: has the GitHub login ines-gh, which ines has too" in caplog.text


@pytest.mark.parametrize("field", ["github: ''", "github: '  '", "emails: ['']"])
def test_an_empty_login_or_address_is_nobodys(tmp_path: Path, field: str) -> None:
    """Or everybody without one would be the same person."""
    path = tmp_path / "people.yaml"
    path.write_text(f"people:\n  ines: {{{field}}}\n")
    with pytest.raises(ConfigurationError, match="is empty: leave it out, or fill it in"):
        read(path)


def test_who_cannot_be_told_from_an_author_is_named_at_start_and_after_an_edit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With what to add; nobody else is."""
    path = tmp_path / "people.yaml"
    path.write_text(
        "people:\n  ines: {github: ines-gh}\n  omar: {groups: [legal]}\n  kim: {emails: [kim@acme.example]}\n"
    )
    people = People(path, clock=SystemClock(), log=logging.getLogger("test"))
    assert [record.getMessage().split(": ")[1].split()[0] for record in caplog.records] == ["omar"]
    assert "add `github` or `emails`" in caplog.text
    caplog.clear()
    path.write_text("people:\n  noor:\n")
    assert list(people.all()) == ["noor"]
    assert "noor has neither" in caplog.text
