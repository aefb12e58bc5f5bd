"""A new token in people.yaml: it gets in however people are written, and nothing else changes."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from greenlight.lib.errors import ConfigurationError
from greenlight.service.people import read
from greenlight.service.people_tokens import new_token

OLD = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "people:\n  lena:\n",
        "people:\n  lena: {}\n",
        "people:\n  lena: {groups: [legal]}  # of the legal department",
        f"people:\n  lena: {{tokens: ['{OLD}'], groups: [legal]}}\n",
        "people:\n  lena: {tokens: [],\n    groups: [legal]}\n",
        "people: {omar: {groups: [ops]}, lena: {groups: [legal]}}\n",
        "people:\n  # lena: {groups: [ops]}\n  lena-x: {}\n  'lena':\n\n    # a lawyer\n    groups: [legal]\n  omar:\n",
        f"people:\n  lena:\n    tokens:  # hers\n      - {OLD}\n    groups: [legal]\n",
        f"people:\n  lena:\n    tokens:\n    - {OLD}\n    groups:\n    - legal\n",
        f"people:\n    lena:\n        groups: [legal]\n        tokens: [\n          {OLD},\n        ]\n",
    ],
)
def test_a_token_is_added_however_the_person_is_written(tmp_path: Path, text: str) -> None:
    """Everything else stays as it was: lines, comments, the other people, earlier tokens, permissions."""
    path = tmp_path / "people.yaml"
    path.write_text(text)
    path.chmod(0o644)
    before = read(path)
    token = new_token(path, "lena")
    assert token.startswith("gl_")
    after = read(path)
    assert len(after["lena"].tokens) == len(before["lena"].tokens) + 1
    assert set(before["lena"].tokens) < set(after["lena"].tokens)
    assert after["lena"].groups == before["lena"].groups
    assert {id: each for id, each in after.items() if id != "lena"} == {
        id: each for id, each in before.items() if id != "lena"
    }
    assert [line for line in text.splitlines() if "#" in line and "tokens" not in line and "legal" not in line] == [
        line for line in path.read_text().splitlines() if line.lstrip().startswith("#") and "hers" not in line
    ]
    assert path.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["people.yaml"]


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    """What is mounted or shared is written where it is."""
    real, link = tmp_path / "real.yaml", tmp_path / "people.yaml"
    real.write_text("people:\n  lena: {groups: [legal]}\n")
    link.symlink_to(real)
    new_token(link, "lena")
    assert link.is_symlink()
    assert len(read(real)["lena"].tokens) == 1


@pytest.mark.parametrize("text", [None, "people:\n  omar: {}\n"])
def test_who_is_not_there_gets_no_token(tmp_path: Path, text: str | None) -> None:
    """And the message says what to write."""
    path = tmp_path / "people.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"there is no person 'lena'.*people: \{lena"):
        new_token(path, "lena")


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_file_that_cannot_be_written_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A full disk, a folder that is mounted for reading: no token is made, and nothing is left behind."""
    path = tmp_path / "people.yaml"
    path.write_text(before := "people:\n  lena: {groups: [legal]}\n")
    works = getattr(os, call)

    def fails(*arguments: Any) -> Any:
        if call == "open" and not arguments[1] & os.O_WRONLY:
            return works(*arguments)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fails)
        with pytest.raises(ConfigurationError, match=r"people\.yaml: cannot be written, .* No space left on device"):
            new_token(path, "lena")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("people.yaml", before)]


def _written(path: Path, text: str, id: str = "lena") -> str:
    """What the file says after `id` got a token, whose digest is shown as NEW."""
    path.write_bytes(text.encode())
    digest = "sha256:" + hashlib.sha256(new_token(path, id).encode()).hexdigest()
    after = path.read_bytes().decode()
    assert after.count(digest) == 1
    return after.replace(digest, "NEW")


COMMENTS = """\
# who we are

---
# since 2019
people:

  lena:  # the lawyer
    groups: [legal]  # she

  # omar leads
  omar:
"""
BLOCKS = f"""\
people:
    lena:
        tokens:
          # of 2024
          - {OLD}  # laptop
        groups:
          - legal
    # end
"""
SCALARS = """\
people:
  zoe: {name: 'Zoë', github: "zoe-gh"}
  lena:
    name: >-
      Lena
      of Legal
  abe: {name: on, github: abe-gh}
"""
LONG = f"people:\n  lena:\n    emails: [{', '.join(f'lena{number}@acme.example' for number in range(20))}]\n"


@pytest.mark.parametrize(
    ("before", "where", "added"),
    [
        ("people:\n  lena:\n", "lena:\n", "    tokens: ['NEW']\n"),
        ("people:\n  lena: {groups: [legal]}\n", "{", "tokens: ['NEW'], "),
        ("people: {lena: {}, omar: {}}\n", "lena: {", "tokens: ['NEW']"),
        (COMMENTS, "# the lawyer\n", "    tokens: ['NEW']\n"),
        (COMMENTS.replace("\n", "\r\n"), "# the lawyer\r\n", "    tokens: ['NEW']\r\n"),
        (BLOCKS, "# of 2024\n", "          - 'NEW'\n"),
        (SCALARS, "  lena:\n", "    tokens: ['NEW']\n"),
        (LONG, "  lena:\n", "    tokens: ['NEW']\n"),
        ("people:\n  omar: {}\n# x\n---\n# y\npeople:\n  lena:\n  ines: {}\n", "lena:\n", "    tokens: ['NEW']\n"),
    ],
    ids=["nothing", "braces", "one line", "comments", "CRLF", "blocks", "scalars", "long lines", "documents"],
)
def test_nothing_but_the_token_is_added(tmp_path: Path, before: str, where: str, added: str) -> None:
    """Order, comments, quotes, blank lines, indentation, line ends and long lines stay."""
    assert _written(tmp_path / "people.yaml", before) == before.replace(where, where + added, 1)


def test_a_second_token_is_added_to_the_first(tmp_path: Path) -> None:
    """In the place that the first one took."""
    path = tmp_path / "people.yaml"
    once = _written(path, "people:\n  lena:\n    groups: [legal]\n").replace("NEW", OLD)
    assert _written(path, once) == f"people:\n  lena:\n    tokens: ['NEW', '{OLD}']\n    groups: [legal]\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("people: &all\n  lena: {}\n", "anchors and aliases"),
        ("people:\n  lena: &her {groups: [legal]}\n  omar: *her\n", "anchors and aliases"),
        ("people:\n  lena: {groups: [legal],  # she\n    emails: []}\n", "losing the comment '# she'"),
        ("people:\n  lena: {name: 2024-13-45}\n", "month must be in 1..12: put that in quotes"),
        ("people:\n  lena: {tokens: }\n", "tokens must be a list of texts"),
        ("people:\n  lena: {}\n  lena: {}\n", "is there twice"),
    ],
)
def test_a_file_that_would_lose_something_stays_as_it_is(tmp_path: Path, text: str, why: str) -> None:
    """And the message says what to change by hand."""
    path = tmp_path / "people.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=why):
        new_token(path, "lena")
    assert path.read_text() == text
    assert [each.name for each in tmp_path.iterdir()] == ["people.yaml"]
