"""greenlight login and logout: a token that is kept for one board, where nobody else reads it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from greenlight.board.login.config import LoginConfig
from greenlight.cli.main import main
from greenlight.service.server import serve
from support.board import Hands, board_of
from support.flow import TOKENS, Shop


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served board that nobody reads without an account."""
    shop = Shop(tmp_path_factory.mktemp("shop")).start()
    app = board_of(shop, Hands(), LoginConfig(anonymous="nobody"), loopback=True)
    server = serve(app, "127.0.0.1:0", name="board")
    server.start()
    yield "http://{}:{}".format(*server.address)
    server.stop(5)
    shop.stop()


class Home:
    """Runs commands of somebody with a home folder."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self.file = folder / "config" / "greenlight" / "tokens.json"

    def __call__(self, *words: str, typed: str = "", **env: Any) -> Result:
        base = {"XDG_CONFIG_HOME": str(self.folder / "config"), "GREENLIGHT_URL": self.address, "GREENLIGHT_TOKEN": ""}
        return CliRunner().invoke(main, list(words), env={**base, **env}, input=typed)


@pytest.fixture
def home(tmp_path: Path, address: str) -> Home:
    return Home(tmp_path, address)


def test_a_kept_token_is_sent_to_its_board_alone(home: Home) -> None:
    """Until the logout; the environment's comes first."""
    assert home("status").exit_code == 2
    done = home("login", typed=TOKENS["lena"] + "\n")
    assert (done.exit_code, "as lena" in done.output) == (0, True), done.output
    assert TOKENS["lena"] not in done.output
    assert json.loads(home.file.read_text()) == {home.address: TOKENS["lena"]}
    assert home("status").exit_code == 0
    assert home("status", GREENLIGHT_TOKEN="gl_wrong").exit_code == 2
    assert home("status", GREENLIGHT_URL=home.address.replace("127.0.0.1", "localhost")).exit_code == 2
    other = home.address.replace("127.0.0.1", "localhost")
    assert home("login", "--url", f"{other}/", typed=TOKENS["omar"]).exit_code == 0
    assert json.loads(home.file.read_text()) == {home.address: TOKENS["lena"], other: TOKENS["omar"]}
    assert "logged out" in home("logout").output
    assert "no token" in home("logout").output
    assert json.loads(home.file.read_text()) == {other: TOKENS["omar"]}
    assert home("status").exit_code == 2


def test_the_file_is_for_its_owner_alone(home: Home) -> None:
    """Also where the folder was there before, and open; a file that others have read is not used any more."""
    home.file.parent.mkdir(parents=True, mode=0o755)
    assert home("login", typed=TOKENS["lena"]).exit_code == 0
    assert stat.S_IMODE(home.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.file.parent.stat().st_mode) == 0o700
    assert [path.name for path in home.file.parent.iterdir()] == ["tokens.json"]
    home.file.chmod(0o644)
    for words in (("status",), ("login",)):
        refused = home(*words, typed=TOKENS["lena"])
        assert (refused.exit_code, "chmod 600" in refused.output) == (2, True)


@pytest.mark.parametrize(
    ("words", "typed", "said"),
    [
        ((), "gl_wrong", "belongs to no person"),
        ((), "", "there is no token"),
        ((), "with space in it", "characters that no token has"),
        (("--url", "http://board.example"), TOKENS["lena"], "in clear"),
        (("--url", "board.example"), TOKENS["lena"], "it must be http(s)://HOST:PORT"),
    ],
)
def test_a_token_that_is_not_right_is_not_kept(home: Home, words: tuple[str, ...], typed: str, said: str) -> None:
    """Nor sent where others could read it."""
    refused = home("login", *words, typed=typed)
    assert (refused.exit_code, said in refused.output) == (2, True), refused.output
    assert not home.file.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"x": 7}', "\xff"])
def test_a_spoiled_file_is_named(home: Home, text: str) -> None:
    """It is not overwritten."""
    home.file.parent.mkdir(parents=True)
    home.file.write_text(text, encoding="latin-1")
    home.file.chmod(0o600)
    refused = home("login", typed=TOKENS["lena"])
    assert refused.exit_code == 2
    assert home.file.read_text(encoding="latin-1") == text
