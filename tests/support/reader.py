"""A reader of the pages: types their commands into a shell, and compares what is printed with what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from support.timing import PATIENCE

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
        """Run `greenlight up` on ports that are free.

        Return its lines, with the default addresses in place of these.
        """
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
        """Send SIGTERM; return the exit code."""
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
        """Return what a shell prints for the command.

        Its folder and its exported variables are kept for the next command.
        """
        keep = "code=$?; env -0 > .env-after; pwd >> .env-after; exit $code"
        done = subprocess.run(
            ["bash", "-c", f"{command}\n{keep}"], cwd=self.folder, env=self.env, capture_output=True, text=True
        )
        refused = command.startswith("greenlight why") or done.stderr.startswith("Error:")
        assert done.returncode in ((0, 1, 4) if refused else (0,)), (
            f"{command}\n{done.stdout}{done.stderr}{self.logged()}"
        )
        after = next(path for path in self.folder.rglob(".env-after"))
        *variables, folder = after.read_text().split("\0")
        after.unlink()
        self.env = dict(variable.split("=", 1) for variable in variables)
        self.folder = Path(folder.strip())
        return (done.stdout or done.stderr).splitlines()

    def logged(self) -> str:
        return self.log.read_text()[-3000:] if self.log.exists() else ""


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    for part in block.removeprefix("$ ").split("\n$ "):
        command, *printed = part.strip().split("\n")
        yield command, printed


def _same(printed: list[str], shown: list[str]) -> bool:
    """Return whether the page shows what was printed.

    Spaces count once; `...` at a line's end, or as the last line, is anything.
    """
    rest = bool(shown) and shown[-1] == "..."
    shown = shown[:-1] if rest else shown
    if len(printed) < len(shown) or (len(printed) > len(shown) and not rest):
        return False
    for got, want in zip(printed, shown, strict=False):
        got, want = " ".join(got.split()), " ".join(want.split())
        if not (got.startswith(want.removesuffix("...").rstrip()) if want.endswith("...") else got == want):
            return False
    return True


def follow(reader: Reader, command: str, shown: list[str]) -> None:
    """Run a command of the page until it prints what the page shows, which a deployment may take a moment for."""
    if command == "greenlight up &":
        assert _same(reader.start(), shown)
        return
    if command == "kill %1":
        assert (reader.stop(), shown) == (0, [])
        return
    deadline = time.monotonic() + PATIENCE
    while not _same(printed := reader.run(command), shown):
        assert time.monotonic() < deadline, f"{command}\n{printed}\nis not\n{shown}\n{reader.logged()}"
        time.sleep(0.05)
