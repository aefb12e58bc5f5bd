"""Compilation of the published parts, once per change of what they are made from."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from kit.processes import fail, say
from kit.settings import BIN, BUILDS, CONSTANTS, HERE, HOME, MODULES, PORTS, RENAMED

GO = (1, 21)
"""The oldest Go that fetches by itself the newer one which a go.mod asks for."""
JAVA = (17,)
"""What DynamoDB Local's classes are compiled for."""
MAVEN = (3, 6)


def check_tools(parts: list[str]) -> None:
    """Fail if a part cannot be built or started here: what it needs, and which others can be had without it."""
    lacks = {part: text for part in parts if (text := _lack(part))}
    if not lacks:
        return
    rest = " ".join(part for part in parts if part not in lacks)
    others = f"; the others need none of it: cluster up {rest}" if rest else ""
    reasons = "\n".join(f"  {part} needs {text}" for part, text in lacks.items())
    fail(f"this machine lacks what some parts are built with{others}\n{reasons}")


def _lack(part: str) -> str | None:
    if part == "dynamodb":
        return (
            _older("java", "-version", JAVA, "Java, a JDK")
            or _older("javac", "-version", JAVA, "Java, a JDK (a JRE has no javac)")
            or _older("mvn", "-version", MAVEN, "Maven")
        )
    return _older("go", "version", GO, "Go")


def _older(command: str, argument: str, least: tuple[int, ...], called: str) -> str | None:
    wanted = f"{called}, {'.'.join(map(str, least))} or newer"
    if not shutil.which(command):
        return f"{wanted}; there is no {command} in PATH"
    done = subprocess.run([command, argument], capture_output=True, text=True, cwd=HERE)
    output = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)  # Maven's is in bold
    version = re.search(r"\d+(\.\d+)*", output)
    if done.returncode or not version:
        return f"{wanted}; `{command} {argument}` says: {output.strip()[:200]}"
    if tuple(map(int, version[0].split("."))) < least:
        return f"{wanted}; {shutil.which(command)} is {version[0]}"
    return None


def stale(part: str) -> bool:
    """Return whether it is not built yet, or was built from something else than what is here now."""
    stamp = HOME / f"{part}.stamp"
    return not stamp.exists() or stamp.read_text() != _digest(part)


def build(part: str) -> None:
    """Build it if it is stale."""
    if not stale(part):
        return
    say(f"building {part} ...")
    started = time.monotonic()
    BIN.mkdir(parents=True, exist_ok=True)
    if part == "dynamodb":
        _build_dynamodb()
    for folder, packages, flags in BUILDS[part]:
        source = _with_moved_ports() if folder == "knative" else HERE / folder
        output = f"{BIN}/{RENAMED.get(folder, '')}"
        command = ["go", "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", output, *packages]
        _run(part, command, source)
    (HOME / f"{part}.stamp").write_text(_digest(part))
    say(f"built {part} in {time.monotonic() - started:.0f} s")


def published(module: str) -> Path:
    """Return where the Go client keeps the published files of a module."""
    words = ["go", "mod", "download", "-json", f"{module}@{MODULES[module]}"]
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        fail(f"`{' '.join(words)}` failed: {done.stderr.strip() or json.loads(done.stdout)['Error']}")
    return Path(json.loads(done.stdout)["Dir"])


def _digest(part: str) -> str:
    folders = ["dynamodb"] if part == "dynamodb" else [folder for folder, _, _ in BUILDS[part]]
    sources = [path for folder in folders for path in sorted((HERE / folder).rglob("*")) if path.is_file()]
    settings = repr((BUILDS[part], CONSTANTS, PORTS) if part == "knative" else BUILDS[part]).encode()
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources) + settings).hexdigest()


def _build_dynamodb() -> None:
    jars = HOME / "dynamodb"
    shutil.rmtree(jars, ignore_errors=True)
    copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    _run("dynamodb", ["mvn", "-q", "-B", "-f", str(HERE / "dynamodb/pom.xml"), *copy], HERE)
    _run("dynamodb", ["javac", "-cp", f"{jars}/*", "-d", str(jars), str(HERE / "dynamodb/Loopback.java")], HERE)


def _with_moved_ports() -> Path:
    """Make a copy of the knative folder with its dependencies beside it and the constants of CONSTANTS changed."""
    source = HOME / "src/knative"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(HERE / "knative", source)
    _run("knative", ["go", "mod", "vendor"], source)
    for path, constants in CONSTANTS.items():
        file = source / "vendor" / path
        text = file.read_text()
        for constant, port in constants.items():
            assert constant in text, f"{path} has no {constant!r} any more"
            text = text.replace(constant, f"{constant.rsplit(' ', 1)[0]} {PORTS[port]}")
        file.write_text(text)
    return source


def _run(part: str, command: list[str], folder: Path) -> None:
    """Run one step of a build; its output goes to stderr, because stdout is for scripts."""
    done = subprocess.run(command, cwd=folder, env={**os.environ, "CGO_ENABLED": "0"}, stdout=2)
    if done.returncode:
        fail(f"building {part} failed: `{' '.join(command)}` in {folder} ended with {done.returncode}; see above")
