"""`make profile`: what a shipped commit costs `greenlight up`, in CPU by part, and in counts.

Each measurement has a Greenlight of its own, in a process of its own, to which this process sends webhooks over HTTP: what
sending costs is in no figure.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_c_shipped_per_second import LANES, configure, signed_commit
from measure import child, fsync_p50, python
from profile_process import CALLS, MEASURES, PARTS, PARTS_OF_A_COMMIT, PLAIN, STATEMENTS
from stopwatch import REST

WARM, ALONE, TOGETHER = 2, 6, 10
"""Commits of each repository: to warm up; one at a time; and with a commit of each repository in progress."""

PATIENCE = 60.0

HOW = f"""
{LANES} repositories shipped {ALONE * LANES} commits one at a time, then {TOGETHER * LANES}, one of each in progress.
A commit is a signed push and a signed build over HTTP, a driver that ends at once, and one subscriber that hears of the
end. Log lines go nowhere. Tracing is off: row K measures it. The senders are another process, and in no figure.
CPU, and thread switches: getrusage of a process in which nothing is replaced.
CPU by part: in a second process, the CPU clock of a thread is read where a function of another part begins, and where it
ends. Reading the clocks costs CPU, too: the difference between the two processes. It is subtracted from the parts by how
often clocks were read in each, so the parts sum to the CPU of the first process. A thread that waits for the
interpreter's lock does so in the part where it is. FUNCTIONS in tests/bench/profile_process.py has each part's functions.
The two processes ran twice, in turns; the run with less CPU is shown.
SQL: SQLite's trace of every connection, in a third process. Cursors of Triggers are written 20 ms after they moved.
Python calls: sys.setprofile, in a fourth process; C functions are not counted, each resumption of a generator is."""

FSYNCS = """Fsyncs: strace counts them in the fourth process, for each COMMIT."""
NO_FSYNCS = """Fsyncs: not counted, because strace is missing or may not be used. SQLite makes one for each COMMIT."""


class Greenlight:
    """A Greenlight that measures one thing, and its senders."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process, self._port = process, port
        self._shipped: dict[str, threading.Event] = {}
        self._figures: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._links = threading.local()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"ship "):
                self._shipped[line.split()[1].decode()].set()
            else:
                self._figures.put(json.loads(line.removeprefix(b"so far ")))
        self._figures.put(None)

    def so_far(self) -> dict[str, Any]:
        """Return its figures, once nothing is in progress."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        figures = self._figures.get(timeout=PATIENCE)
        assert figures is not None, "the process has ended"
        return figures

    def ship(self, commits: Sequence[Mapping[str, Any]]) -> None:
        """Ship them, one after the other."""
        for commit in commits:
            done = self._shipped[commit["done"]] = threading.Event()
            for request in commit["requests"]:
                self._send(request)
            assert done.wait(PATIENCE), "a commit was not deployed"

    def _send(self, request: Mapping[str, Any]) -> None:
        if not hasattr(self._links, "link"):
            self._links.link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        headers = dict(header.split(": ", 1) for header in request["headers"])
        self._links.link.request("POST", request["path"], request["body"].encode(), headers)
        response = self._links.link.getresponse()
        body = response.read()
        assert response.status == 202, body


@dataclass(frozen=True)
class Load:
    """What some commits cost: each figure before them is subtracted, and the rest divided by their number."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    commits: int

    def __getitem__(self, path: str) -> float:
        """Return a figure for each commit; `path` is its name, or two names with a slash between them."""
        before, after = self.before, self.after
        for name in path.split("/"):
            before, after = before.get(name, 0), after.get(name, 0)  # type: ignore[assignment]
        return (after - before) / self.commits  # type: ignore[operator]


Loads = tuple[Load, Load]
"""One commit at a time, and many together."""


def main() -> None:
    """Measure, and print."""
    print(
        f"CPython {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"fsync of 4 KiB p50 {fsync_p50() * 1e3:.2f} ms",
        flush=True,
    )
    rounds = [{measure: _measured(measure) for measure in words} for words in ((PLAIN, PARTS), MEASURES)]
    found = {**rounds[1], **{measure: _cheaper(*(each[measure] for each in rounds)) for measure in (PLAIN, PARTS)}}
    rows = [*_cpu(found[PLAIN], found[PARTS]), *_counts(found)]
    print(f"\n{'':34}{'one at a time':>16}{f'{LANES} together':>16}")
    for name, alone, together in rows:
        print(f"{name:34}{alone:>16}{together:>16}".rstrip())
    print(HOW)
    print(NO_FSYNCS if found[CALLS][0].after["fsyncs"] is None else FSYNCS)


def _cheaper(one: Loads, other: Loads) -> Loads:
    """Return the loads that took less CPU: other work on the machine can only add to it."""
    alone, together = (min(loads, key=lambda load: load["cpu"]) for loads in zip(one, other, strict=True))
    return alone, together


def _measured(measure: str) -> Loads:
    with _greenlight(measure) as (greenlight, so_far):
        numbers = iter(range(WARM + ALONE + TOGETHER))
        marks = []
        for together, count in ((True, WARM), (False, ALONE), (True, TOGETHER)):
            rounds = [next(numbers) for _ in range(count)]
            lanes = [[json.loads(signed_commit(lane, n)) for n in rounds] for lane in range(LANES)]
            if together:
                _at_once([lambda lane=lane: greenlight.ship(lane) for lane in lanes])  # type: ignore[misc]
            else:
                greenlight.ship([lane[n] for n in range(count) for lane in lanes])
            marks.append(so_far())
    warm, alone, end = marks
    return Load(warm, alone, ALONE * LANES), Load(alone, end, TOGETHER * LANES)


def _at_once(calls: Sequence[Callable[[], object]]) -> None:
    failed: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as problem:
            failed.append(problem)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


@contextmanager
def _greenlight(measure: str) -> Iterator[tuple[Greenlight, Callable[[], dict[str, Any]]]]:
    """A process, and what returns its figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configure(folder)
        syncs = folder / "syncs"
        traced = _strace(syncs) if measure == CALLS else []
        command = [*traced, *python("profile_process.py"), str(folder), measure]
        pipe = subprocess.PIPE
        with (folder / "log").open("wb") as log, child(*command, stdin=pipe, stdout=pipe, stderr=log) as process:
            assert process.stdout is not None
            port = process.stdout.readline().decode().strip()
            assert port, (folder / "log").read_text()[-3000:]
            greenlight = Greenlight(process, int(port))

            def so_far() -> dict[str, Any]:
                return {**greenlight.so_far(), "fsyncs": _syncs(syncs) if traced else None}

            yield greenlight, so_far
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE)


def _strace(output: Path) -> list[str]:
    """Return the words before a command that write each of its fsyncs into `output`; none where that is not possible."""
    words = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o", str(output)]
    if shutil.which("strace") is None:
        return []
    return words if subprocess.run([*words, "true"], capture_output=True).returncode == 0 else []


def _syncs(output: Path) -> int:
    return sum("sync(" in line for line in output.read_text().splitlines())


def _cpu(plain: Loads, parts: Loads) -> list[tuple[str, str, str]]:
    """Return the rows in milliseconds."""
    each = [_parts(*loads) for loads in zip(plain, parts, strict=True)]
    rows = [("CPU", [load["cpu"] for load in plain])]
    rows += [(f"  {name}", [found[name] for found in each]) for name in PARTS_OF_A_COMMIT]
    rows += [
        ("of the CPU, in the kernel", [load["system"] for load in plain]),
        ("COMMIT, by the wall clock", [load["commit_wall"] for load in parts]),
        ("not in the CPU: the clocks", [timed["cpu"] - load["cpu"] for load, timed in zip(plain, parts, strict=True)]),
    ]
    return [(title, *(f"{value * 1e3:.2f} ms" for value in values)) for title, values in rows] + [("", "", "")]  # type: ignore[misc]


def _parts(plain: Load, timed: Load) -> dict[str, float]:
    """Return the seconds of each part, without what the clocks cost; together they are the CPU of `plain`."""
    spent = {name: timed[f"parts/{name}/seconds"] for name in PARTS_OF_A_COMMIT}
    spent[REST] += timed["cpu"] - sum(spent.values())  # of threads in which no part began
    readings = {name: timed[f"parts/{name}/readings"] for name in PARTS_OF_A_COMMIT}
    reading = (timed["cpu"] - plain["cpu"]) / sum(readings.values())
    return {name: spent[name] - reading * readings[name] for name in PARTS_OF_A_COMMIT}


def _counts(found: Mapping[str, Loads]) -> list[tuple[str, str, str]]:
    """Return the rows of counts."""
    rows: list[tuple[str, Sequence[float | None]]] = [
        ("Python calls", [load["calls"] for load in found[CALLS]]),
        ("SQL reads", [load["statements/reads"] for load in found[STATEMENTS]]),
        ("SQL writes", [load["statements/writes"] for load in found[STATEMENTS]]),
        ("transactions (COMMIT)", [load["statements/transactions"] for load in found[STATEMENTS]]),
        ("fsyncs", [_fsyncs(*loads) for loads in zip(found[STATEMENTS], found[CALLS], strict=True)]),
        ("events in the log", [load["events"] for load in found[STATEMENTS]]),
        ("thread switches, by a wait", [load["waits"] for load in found[PLAIN]]),
        ("thread switches, by the scheduler", [load["preempted"] for load in found[PLAIN]]),
    ]
    return [(title, *("-" if count is None else f"{count:.1f}" for count in counts)) for title, counts in rows]  # type: ignore[misc]


def _fsyncs(load: Load, traced: Load) -> float | None:
    if traced.after["fsyncs"] is None:
        return None
    return load["statements/transactions"] * traced["fsyncs"] / traced["statements/transactions"]


if __name__ == "__main__":
    main()
