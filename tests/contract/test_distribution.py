"""The wheel: how it is called, and that it starts the demo where there is no checkout and nothing of the user's is touched."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.parser import Parser
from pathlib import Path

import pytest
import urllib3

from support.timing import PATIENCE
from support.tools import tool

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make wheel` builds it; what it needs is installed beside the tests already."""
    folder = tmp_path_factory.mktemp("wheel")
    _make_wheel(folder)
    (found,) = folder.iterdir()
    return found


def _make_wheel(folder: Path) -> None:
    given = (f"DIST={folder}", f"BIN={Path(sys.executable).parent}")
    made = subprocess.run(
        ["make", "-o", ".venv/runtime", "wheel", *given], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


def test_the_wheel_has_a_name_of_its_own_and_the_command_keeps_its(wheel: Path) -> None:
    """`greenlight` on the package index is another project."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        (commands,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        fields = Parser().parsestr(archive.read(metadata).decode())
        assert fields["Name"] == "greenlight-pipeline"
        assert "greenlight = greenlight.cli.main:main" in archive.read(commands).decode()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"greenlight"}
    assert {"greenlight/knative/services/board.yaml", "greenlight/policy/schema.json"} < set(names)


def test_a_wheel_is_a_function_of_its_sources(wheel: Path, tmp_path: Path) -> None:
    """Built again, it has the same bytes."""
    _make_wheel(tmp_path)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_a_python_that_is_too_new_is_told_so_by_the_wheel_and_by_make(wheel: Path, tmp_path: Path) -> None:
    """And not by a compiler that is missing for one of the packages."""
    index = ("--no-index", "--find-links", str(wheel.parent), "--no-deps", "--dest", str(tmp_path))
    asked = [sys.executable, "-m", "pip", "download", *index, "--python-version", "3.15", "greenlight-pipeline"]
    refused = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert re.search(r"requires a different Python: 3\.15\S* not in '.*<3\.15.*'", refused.stderr), refused.stderr
    newer = tmp_path / "python"
    newer.write_text(f"""#!/bin/sh
[ "$1" = -c ] || {{ echo Python 3.15.0; exit; }}
exec {sys.executable} -c 'import sys; code = sys.argv[1]; sys.version_info = (3, 15, 0); exec(code)' "$2"
""")
    newer.chmod(0o755)
    refused = subprocess.run(
        ["make", "--always-make", ".venv/runtime", f"PYTHON={newer}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert (
        f"needs Python 3.11 to 3.14 (orjson, which it needs, has no wheel for 3.15), and {newer} is Python 3.15.0"
        in refused.stderr
    )


@pytest.mark.tools
def test_pipx_installs_a_wheel_that_starts_the_demo(wheel: Path, tmp_path: Path) -> None:
    """The command is on the PATH that pipx names, and knows its version."""
    env = _elsewhere(tmp_path)
    _run([tool("pipx"), "install", "--python", str(PYTHON), str(wheel)], env, tmp_path)
    greenlight = str(tmp_path / "home" / ".local" / "bin" / "greenlight")
    assert _run([greenlight, "--version"], env, tmp_path).strip() == f"greenlight, version {wheel.name.split('-')[1]}"
    _demo([greenlight], env, tmp_path)
    _run([tool("pipx"), "uninstall", "greenlight-pipeline"], env, tmp_path)
    assert not os.path.lexists(greenlight)


@pytest.mark.tools
def test_uvx_starts_the_demo_of_a_wheel(wheel: Path, tmp_path: Path) -> None:
    """Nothing is installed before."""
    _demo([tool("uvx"), "--from", str(wheel), "greenlight"], _elsewhere(tmp_path), tmp_path)


def _elsewhere(folder: Path) -> Mapping[str, str]:
    """The environment of a user who has no checkout: only how the package index is reached is as here."""
    (folder / "home").mkdir()
    reached = ("PIP_", "UV_", "SSL_", "REQUESTS_", "HTTP_", "HTTPS_", "NO_", "http_", "https_", "no_")
    kept = {name: value for name, value in os.environ.items() if name.startswith(reached)}
    python = {"UV_PYTHON": str(PYTHON), "UV_PYTHON_DOWNLOADS": "never"}
    return {**kept, **python, "HOME": str(folder / "home"), "PATH": os.defpath, "LANG": "C.UTF-8"}


def _run(command: Sequence[str], env: Mapping[str, str], folder: Path) -> str:
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _demo(command: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
    """Play the story as a user would who has just made an empty folder, see that it deployed, and end it in order."""
    work = folder / "work"
    work.mkdir()
    listen = [word for name in ("", "webhooks-", "broker-") for word in (f"--{name}listen", "127.0.0.1:0")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "up", "--demo", *listen], env=env, cwd=work, stdout=subprocess.PIPE, stderr=log, text=True
        )
    with process, _killed_when_late(process):
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("still running"):
                break
        text = "".join(said)
        answers = re.search(r"(http://\S+) answers: hello, this is commit ([0-9a-f]{40})", text)
        assert answers is not None, text + (folder / "log").read_text()
        assert answers[2] in urllib3.request("GET", answers[1]).data.decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, (folder / "log").read_text()
    assert [path.name for path in work.iterdir()] == [".greenlight"]


@contextmanager
def _killed_when_late(process: subprocess.Popen[str]) -> Iterator[None]:
    guard = threading.Timer(2 * PATIENCE, process.kill)  # it fetches packages
    guard.start()
    try:
        yield
    finally:
        guard.cancel()
