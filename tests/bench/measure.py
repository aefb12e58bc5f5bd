"""What the benchmarks share: rows of the table, medians of interleaved rounds, CPU time, the disk, and programs in Go."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROUNDS = 3


class Missing(Exception):
    """What a row is measured against is not on this machine. The message says what to do about it."""


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` says how many times better ours is (`at_least`), or dearer (`at_most`)."""

    name: str
    measure: str
    ours: str = ""
    baseline: str = ""
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def target(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}" if self.at_most else ""

    @property
    def met(self) -> str:
        if self.ratio is None or not self.target:
            return "-"
        low = self.at_least is None or self.ratio >= self.at_least
        return "yes" if low and (self.at_most is None or self.ratio <= self.at_most) else "NO"


def table(rows: Sequence[Row]) -> str:
    """The rows below each other."""
    head = ("row", "measure", "ours", "baseline", "ratio", "target", "met")
    lines = [
        (row.name, row.measure, row.ours, row.baseline, f"{row.ratio:.2f}" if row.ratio else "-", row.target, row.met)
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *lines)]
    notes = ["", *(row.note for row in rows)]
    return "\n".join(
        f"  {text.rstrip()}{f'   {note}' if note else ''}" for text, note in zip(texts, notes, strict=True)
    )


def interleaved(
    candidates: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int = ROUNDS
) -> dict[str, dict[str, float]]:
    """Measure all of them in each round, so that a noisy minute hits everybody; the medians by candidate and figure."""
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, measure in candidates.items():
            found[name].append(measure())
    return {
        name: {figure: statistics.median(round[figure] for round in each) for figure in each[0]}
        for name, each in found.items()
    }


def ms(seconds: float) -> str:
    """Seconds as milliseconds."""
    return f"{seconds * 1e3:.2f} ms"


def cpu(pid: int) -> float:
    """CPU seconds of a process and its children, so far."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat.parent.name) == pid or int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def resident(pid: int) -> float:
    """MB of memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def fsync_p50() -> float:
    """Seconds that an fsync of 4 KiB more takes where temporary files are."""
    taken = []
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "probe").open("ab", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            start = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def free() -> int:
    """A port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answering(port: int, patience: float = 20.0) -> None:
    """Wait until somebody listens on `port`."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)
    raise RuntimeError(f"nobody answers on port {port}")


@contextlib.contextmanager
def child(*words: str | Path, env: Mapping[str, str] | None = None, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process that ends with the block. Its PYTHONPATH leads to this checkout."""
    paths = os.pathsep.join([str(HERE.parents[1] / "services"), str(HERE.parent), str(HERE)])
    process = subprocess.Popen(
        [str(word) for word in words], env={**os.environ, "PYTHONPATH": paths, **(env or {})}, **options
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _programs() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "greenlight-bench"


def go_program(name: str) -> Path:
    """The compiled program of the folder `name`, built once per change of its source. Raises Missing."""
    if shutil.which("go") is None:
        raise Missing("needs Go, which is not installed")
    source = HERE / name / "main.go"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    cache = _programs()
    program = cache / f"{name}-{digest}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(["go", "build", "-o", str(program), str(source)], check=True, cwd=cache)
    return program


def go_tool(module: str, version: str) -> Path:
    """A published program in Go, built once. Raises Missing."""
    if shutil.which("go") is None:
        raise Missing("needs Go, which is not installed")
    name = module.removesuffix("/v2").rpartition("/")[2]
    program = _programs() / version / name
    if not program.exists():
        env = {**os.environ, "GOBIN": str(program.parent), "GOFLAGS": "-mod=mod"}
        subprocess.run(["go", "install", f"{module}@{version}"], check=True, env=env, capture_output=True)
    return program


def load(*words: object, stdin: Any = None, patience: float = 120.0) -> dict[str, float]:
    """Run the load generator to its end; the figures that it prints."""
    done = subprocess.run(
        [str(go_program("load")), *map(str, words)], stdin=stdin, stdout=subprocess.PIPE, timeout=patience, check=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


@dataclass(frozen=True)
class RunningBroker:
    """`greenlight broker` at work: where its first Broker takes events, its process, and how long its start took."""

    url: str
    pid: int
    seconds: float


@contextlib.contextmanager
def broker(folder: Path, manifests: str, *, nice_as: int | None = None) -> Iterator[RunningBroker]:
    """`greenlight broker` in a process of its own, with its data in `folder`; with the priority of process `nice_as`."""
    (folder / "manifests").mkdir(exist_ok=True)
    (folder / "manifests" / "bench.yaml").write_text(manifests)
    nice = os.getpriority(os.PRIO_PROCESS, nice_as or 0)
    words = ["broker", "--manifests", folder / "manifests", "--data", folder / "data", "--listen", "127.0.0.1:0"]
    command = [sys.executable, "-m", "greenlight.cli.main", *words]
    start = time.perf_counter()
    with (
        (folder / "log").open("ab") as log,
        child(
            *command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=lambda: os.setpriority(os.PRIO_PROCESS, 0, nice),
        ) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "log").read_text()[-3000:]
        yield RunningBroker(line.split()[-1], process.pid, time.perf_counter() - start)


def python(script: str) -> list[str]:
    """The command line of a script that lies beside this one."""
    return [sys.executable, str(HERE / script)]
