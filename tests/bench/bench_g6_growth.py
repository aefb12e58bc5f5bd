"""G6 to G9: an event or a page beside many others by one beside few; one repository beside a flood of another."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from measure import Row, child, ms, python

from greenlight.lib import signing
from support.flow import REPO, push_payload, sha_of

ROWS = ("G6", "G7", "G8", "G9")

WAITING = (10, 1000)  # G6
FACTS = (10, 3000)  # G7
SENDERS = 64  # G8
COMMITS = (100, 10_000)  # G9
MEASURED = 40
"""Events or pages of one figure."""
SHIPPED = 25
"""Commits of repository B, of one figure."""
PATIENCE = 60.0
"""Seconds that a commit may take to ship beside a flood, before the row says that."""

SECRET = "secret of the benchmark"
SCANNER = "whsec_c2VjcmV0IG9mIHRoZSBiZW5jaG1hcms="


def signed_push(word: str, repo: str, *, at: int) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a push of the commit `word`, `at` seconds after all pushes began."""
    body = (
        json.dumps(push_payload(word, before=f"before {word}", at=at)).replace("Acme/Shop", f"{REPO}-{repo}").encode()
    )
    return body, {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-Hub-Signature-256": signing.github(SECRET.encode(), body),
    }


class World:
    """One Greenlight, spoken to over HTTP. Two applications of two repositories, each with one gate and one environment."""

    def __init__(self, process: subprocess.Popen[bytes], webhooks: int, board: int) -> None:
        self._process, self.webhooks, self.board = process, webhooks, board
        self._lines: list[tuple[str, float]] = []
        self._news = threading.Condition()
        self._ended = False
        self._numbers = iter(range(10**9))
        self._links = threading.local()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._lines.append((line.decode().strip(), time.perf_counter()))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def line(self, seen: Callable[[str], bool], patience: float) -> tuple[str, float] | None:
        """The first line that the process printed for which `seen` holds, and when it came."""
        with self._news:
            self._news.wait_for(lambda: self._ended or any(seen(line) for line, _ in self._lines), patience)
            assert not self._ended, "the benchmark's process has ended"
            return next((it for it in self._lines if seen(it[0])), None)

    def cpu(self) -> float:
        """Seconds of CPU that it has used, once nothing is under way."""
        assert self._process.stdin is not None
        with self._news:
            self._lines = [it for it in self._lines if not it[0].startswith("cpu ")]
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        found = self.line(lambda line: line.startswith("cpu "), 600)
        assert found is not None, "the benchmark's process does not answer"
        return float(found[0].split()[1])

    def cost(self, what: Callable[[], object], times: int = MEASURED) -> float:
        """Seconds of CPU that each of some takes, with all that follows from it."""
        before = self.cpu()
        for _ in range(times):
            what()
            self.cpu()
        return (self.cpu() - before) / times

    def _ask(
        self, port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> bytes:
        for last in (False, True):
            link = self._links.__dict__.setdefault(
                str(port), http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            )
            try:
                link.request(method, path, body, headers or {})
                answer = link.getresponse()
                text: bytes = answer.read()
            except (http.client.HTTPException, OSError):  # it was idle for long, and was closed
                link.close()
                if last:
                    raise
                continue
            break
        assert answer.status in (200, 202), (answer.status, text)
        return text

    def push(self, word: str, repo: str = "a") -> None:
        """A signed push of the commit `word`, newer than all before."""
        self._ask(self.webhooks, "POST", "/webhooks/github", *signed_push(word, repo, at=next(self._numbers)))

    def status(self, word: str, context: str, repo: str = "a") -> None:
        """A commit status of GitHub's that no gate names: a signal more on the commit."""
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        payload = {
            "id": next(self._numbers) + 1, "sha": sha_of(word), "state": "success", "context": context,
            "created_at": now, "updated_at": now, "target_url": f"https://ci.example/{context}", "description": None,
            "branches": [{"name": "main", "commit": {"sha": sha_of(word)}}], "commit": {"sha": sha_of(word)},
            "repository": {"full_name": f"{REPO}-{repo}", "html_url": f"https://github.com/{REPO}-{repo}"},
            "sender": {"login": "ci"},
        }  # fmt: skip
        body = json.dumps(payload).encode()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "status",
            "X-Hub-Signature-256": signing.github(SECRET.encode(), body),
        }
        self._ask(self.webhooks, "POST", "/webhooks/github", body, headers)

    def scan(self, word: str, repo: str = "a") -> None:
        """The gate passes."""
        body = json.dumps({"repo": f"{REPO}-{repo}", "sha": sha_of(word), "outcome": "passed"}).encode()
        id, stamp = f"m{next(self._numbers)}", int(time.time())
        signature = signing.standard_webhooks(f"{SCANNER}".encode(), id, stamp, body)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": signature,
        }
        self._ask(self.webhooks, "POST", "/webhooks/gates/scan", body, headers)

    def page(self) -> None:
        """The board's first page."""
        self._ask(self.board, "GET", "/")

    def shipped(self, word: str) -> float:
        """Seconds from a push of repository B, and its scan, until the commit is deployed; PATIENCE if it is not by then."""
        start = time.perf_counter()
        self.push(word, "b")
        self.scan(word, "b")
        found = self.line(lambda line: line == f"ship {sha_of(word)}", PATIENCE)
        return PATIENCE if found is None else found[1] - start


@contextmanager
def world(commits: int = 0) -> Iterator[World]:
    """A new one, which knows so many commits of repository A."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config").mkdir()
        (folder / "secrets").mkdir()
        (folder / "secrets" / "github").write_text(f"{SECRET}\n")
        (folder / "secrets" / "gate-scan").write_text(f"{SCANNER}\n")
        (folder / "config" / "people.yaml").write_text("people: {}\n")
        applications = [
            {
                "name": f"shop-{repo}",
                "repo": f"{REPO}-{repo}",
                "branches": ["main"],
                "gates": {"scan": {"webhook": "scan"}},
                "environments": [{"name": "live", "require": ["scan"], "deploy": {"command": {"run": ["true"]}}}],
            }
            for repo in ("a", "b")
        ]
        pipeline = {"apiVersion": "greenlight/v1", "kind": "Pipeline", "applications": applications}
        (folder / "config" / "pipeline.yaml").write_text(json.dumps(pipeline))
        command = [*python("growth_process.py"), str(folder), f"{REPO}-a", str(commits)]
        with (
            (folder / "log").open("wb") as log,
            child(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as process,
        ):
            assert process.stdout is not None
            ports = process.stdout.readline().split()
            assert len(ports) == 2, (folder / "log").read_text()[-3000:]
            yield World(process, *map(int, ports))


def main() -> list[Row]:
    """Each figure is a ratio within one process, except those of a push and of a page, which need another history."""
    return [_waiting(), _facts(), _flood(), _board()]


def _waiting() -> Row:
    """Two processes in turns: what a push costs in one changes by a third with what the machine does meanwhile."""
    with world() as small, world() as large:
        costs: dict[World, list[float]] = {small: [], large: []}
        for one, count in zip(costs, WAITING, strict=True):
            for n in range(count):
                one.push(f"waits {n}")
        for n in range(MEASURED):
            for one, found in costs.items():
                found.append(one.cost(lambda one=one, n=n: one.push(f"new {n}"), 1))  # type: ignore[misc]
    few, many = map(statistics.median, costs.values())
    return Row("G6", "CPU of a push, 1 000 commits wait, by 10", ms(many), ms(few), many / few, at_most=1.5)


def _facts() -> Row:
    with world() as one:
        costs = []
        for count in FACTS:
            word = f"commit with {count}"
            one.push(word)
            for n in range(count):
                one.status(word, f"ci/{n}")
            numbers = iter(range(count, count + MEASURED))
            costs.append(one.cost(lambda numbers=numbers, word=word: one.status(word, f"ci/{next(numbers)}")))  # type: ignore[misc]
    few, many = costs
    return Row("G7", "CPU of a fact on a commit with 3 000, by 10", ms(many), ms(few), many / few, at_most=2.0)


def _flood() -> Row:
    with world() as one:
        quiet = [one.shipped(f"quiet {n}") for n in range(SHIPPED)]
        with child(*python("flood_process.py"), str(one.webhooks), str(SENDERS), stdout=subprocess.PIPE) as flood:
            assert flood.stdout is not None
            assert flood.stdout.readline(), "the senders did not begin"
            beside = [one.shipped(f"beside {n}") for n in range(SHIPPED)]
    ours, floor = statistics.median(beside), statistics.median(quiet)
    print(f"  beside the flood: {ms(min(beside))} to {ms(max(beside))}; alone: {ms(min(quiet))} to {ms(max(quiet))}")
    return Row("G8", "a commit shipped beside 64 senders, by alone", ms(ours), ms(floor), ours / floor, at_most=3.0)


def _board() -> Row:
    costs = []
    for count in COMMITS:
        with world(count) as one:
            one.cost(one.page)  # what a start leaves to be done once, beside the first pages, is no part of a page
            costs.append(one.cost(one.page))
    few, many = costs
    return Row("G9", "CPU of the first page, 10 000 commits, by 100", ms(many), ms(few), many / few, at_most=1.5)
