"""The tutorial is followed literally: its files are written, its commands run, and each prints what the page shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import urllib3

from greenlight.cli.main import main
from greenlight.lib import signing
from support.timing import PATIENCE

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
STEP = re.compile(r"(?:^`(?P<file>\S+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
DEFAULT = {"board": "http://127.0.0.1:8080", "webhooks": "http://127.0.0.1:8081", "broker": "http://127.0.0.1:8082"}
ANY_PORT = [f"--{name}=127.0.0.1:0" for name in ("listen", "webhooks-listen", "broker-listen")]


class Reader:
    """A reader with a terminal: a folder, exported variables, and one Greenlight in the background."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "stderr.log"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("GREENLIGHT_")}
        self.env["PATH"] = f"{Path(sys.executable).parent}:{self.env['PATH']}"
        self.up: subprocess.Popen[str] | None = None

    def write(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text)

    def start(self) -> list[str]:
        """`greenlight up` on ports that are free; its lines, with the default addresses in place of these."""
        with self.log.open("wb") as log:
            self.up = subprocess.Popen(
                ["greenlight", "up", *ANY_PORT],
                cwd=self.folder,
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.up.stdout is not None
        guard = threading.Timer(PATIENCE, self.up.kill)
        guard.start()
        lines = [next(self.up.stdout, "").rstrip() for _ in range(5)]
        guard.cancel()
        self.rest = threading.Thread(target=self.up.stdout.read, daemon=True)
        self.rest.start()
        at = {name: url for line in lines for name, url in re.findall(r"^  (\w+) +(http://\S+)", line)}
        assert at.keys() == DEFAULT.keys(), self.log.read_text()
        self.env |= {"GREENLIGHT_URL": at["board"], "GREENLIGHT_WEBHOOKS_URL": at["webhooks"]}
        for name, url in at.items():
            lines = [line.replace(url, DEFAULT[name]) for line in lines]
        return lines

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.up is not None
        self.up.terminate()
        code = self.up.wait(PATIENCE)
        self.close()
        return code

    def close(self) -> None:
        """Leave no process and no pipe."""
        if self.up is not None and self.up.stdout is not None and not self.up.stdout.closed:
            self.up.kill()
            self.up.wait()
            self.rest.join()
            self.up.stdout.close()

    def run(self, command: str) -> list[str]:
        """What a shell prints for it. Its folder and its exported variables are kept for the next command."""
        keep = "code=$?; env -0 > .env-after; pwd >> .env-after; exit $code"
        done = subprocess.run(
            ["bash", "-c", f"{command}\n{keep}"], cwd=self.folder, env=self.env, capture_output=True, text=True
        )
        wrong = 1 if command.startswith("greenlight why") else 0  # which says no as long as the commit waits
        assert done.returncode in (0, wrong), f"{command}\n{done.stdout}{done.stderr}{self._logged()}"
        after = next(path for path in self.folder.rglob(".env-after"))
        *variables, folder = after.read_text().split("\0")
        after.unlink()
        self.env = dict(variable.split("=", 1) for variable in variables)
        self.folder = Path(folder.strip())
        return done.stdout.splitlines()

    def _logged(self) -> str:
        return self.log.read_text()[-3000:] if self.log.exists() else ""


def _commands(block: str) -> Iterator[tuple[str, list[str]]]:
    for part in block.removeprefix("$ ").split("\n$ "):
        command, *printed = part.strip().split("\n")
        yield command, printed


def _same(printed: list[str], shown: list[str]) -> bool:
    """Whether the page shows what was printed. Spaces count once; `...` at a line's end, or as the last line, is anything."""
    rest = bool(shown) and shown[-1] == "..."
    shown = shown[:-1] if rest else shown
    if len(printed) < len(shown) or (len(printed) > len(shown) and not rest):
        return False
    for got, want in zip(printed, shown, strict=False):
        got, want = " ".join(got.split()), " ".join(want.split())
        if not (got.startswith(want.removesuffix("...").rstrip()) if want.endswith("...") else got == want):
            return False
    return True


def test_the_tutorial_goes_as_it_says(tmp_path: Path) -> None:
    """Only ports differ. At its end the commit is deployed, and the log has the lines by which a reader sees a webhook."""
    reader = Reader(tmp_path)
    try:
        for step in STEP.finditer(PAGE):
            if step["file"]:
                reader.write(step["file"], step["text"])
                continue
            assert step["kind"] == "console", step["text"]
            for command, shown in _commands(step["text"]):
                _do(reader, command, shown)
                if command.startswith("greenlight send github push"):
                    _ping(reader)
                    _refused(reader)
        assert (tmp_path / "shop-pipeline" / "deployed").exists()
        logged = reader.log.read_text()
        lines = [line.strip() for line in PAGE.splitlines() if line.strip().startswith("INFO greenlight.webhooks")]
        assert len(lines) == 2
        for line in lines:
            pattern = (
                re.escape(line).replace("7\\.8", "[0-9.]+").replace("13\\.0", "[0-9.]+").replace("\\.\\.\\.", ".*")
            )
            assert re.search(pattern, logged), line
    finally:
        reader.close()


def _do(reader: Reader, command: str, shown: list[str]) -> None:
    """Run a command of the page until it prints what the page shows, which a deployment may take a moment for."""
    if command == "greenlight up &":
        assert _same(reader.start(), shown)
        return
    if command == "kill %1":
        assert (reader.stop(), shown) == (0, [])
        return
    deadline = time.monotonic() + PATIENCE
    while not _same(printed := reader.run(command), shown):
        assert time.monotonic() < deadline, f"{command}\n{printed}\nis not\n{shown}\n{reader._logged()}"
        time.sleep(0.05)


def _ping(reader: Reader) -> None:
    """What GitHub sends first, when a webhook is added."""
    hook = {"zen": "Keep it logically awesome.", "hook_id": 1, "repository": {"full_name": "acme/shop"}}
    reader.write("ping.json", json.dumps(hook))
    assert reader.run("greenlight send github ping ping.json") == ["ignored: nothing follows from the event 'ping'"]


def _refused(reader: Reader) -> None:
    """The responses of the page's last table, as GitHub would show them."""
    url = reader.env["GREENLIGHT_WEBHOOKS_URL"] + "/webhooks/github"
    body = (reader.folder / "push.json").read_bytes()
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signing.github(b"not the secret", body)}
    for status, kind in ((401, "application/json"), (415, "application/x-www-form-urlencoded")):
        response = urllib3.request("POST", url, body=body, headers=headers | {"Content-Type": kind}, retries=False)
        assert response.status == status
        assert f"| {status} |" in PAGE


def test_every_other_command_of_the_page_is_one() -> None:
    """Those that need GitHub or a tunnel are not run, and only the command line's own can be looked up here."""
    named = set(re.findall(r"`greenlight ([a-z-]+)", PAGE)) | set(
        re.findall(r"^    greenlight ([a-z-]+)", PAGE, re.MULTILINE)
    )
    assert {"status", "approve", "retry", "rollback"} <= named
    assert named <= set(main.list_commands(None))  # type: ignore[attr-defined]
