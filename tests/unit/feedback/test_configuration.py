"""The file feedback.yaml: every error by its line, and the page's example is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenlight.feedback.configuration import Configuration, read
from greenlight.lib.errors import ConfigurationError

PAGE = (Path(__file__).parents[3] / "docs/feedback.md").read_text()


def test_without_the_file_there_are_defaults(tmp_path: Path) -> None:
    assert read(tmp_path / "feedback.yaml") == Configuration()


def test_the_example_of_the_page_is_right(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "feedback.yaml").write_text(example)
    found = read(tmp_path / "feedback.yaml")
    assert (found.url, found.app, found.board) == ("https://api.github.com", 123456, "https://greenlight.example.com")
    assert found.page("acme/shop", "abc") == "https://greenlight.example.com/commits/acme/shop/abc"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("github: {app: yes}\n", r"feedback.yaml:1: github.app: is 'yes', but must be the id of the GitHub App"),
        ("board: greenlight.example.com\n", r"feedback.yaml:1: board: is .* must be the public URL of the board"),
        ("\ngithub:\n  uri: https://x.example\n", r"feedback.yaml:3: github: unknown field 'uri'; did you mean 'url'"),
        ("github: {url: 'https://user@x.example'}\n", r"must be the URL of GitHub's API"),
        ("a: {\n", r"feedback.yaml:\d+: is not YAML"),
        ("github: {}\n---\nboard: https://x.example\n", r"must be one YAML document"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "feedback.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read(tmp_path / "feedback.yaml")
