"""kill -9 at random moments loses no fact and deploys nothing twice under different ids (invariants 3 and 4)."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import defaultdict
from pathlib import Path

import urllib3

from support.flow import REPO, Shop, sha_of
from support.process import Up, signed
from support.timing import PATIENCE

COMMITS = 50
KILLS = 8


def _facts() -> list[tuple[str, str, int]]:
    """200 facts about 50 commits, each commit's in order, so that the last commit can ship."""
    return [(kind, f"commit {n}", n) for n in range(COMMITS) for kind in ("push", "build", "scan", "approve")]


class _Sender(threading.Thread):
    """Sends every fact until it is acknowledged, as senders that retry do, to whatever process is up."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.up, self.acknowledged = folder, None, []  # type: ignore[var-annotated]
        self.sent = threading.Semaphore(0)
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            for kind, word, n in _facts():
                self._send(kind, word, n)
        except BaseException as problem:
            self.problem = problem

    def _send(self, kind: str, word: str, n: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            up: Up = self.up  # type: ignore[assignment]
            try:
                port, path, body, headers = signed(
                    self.folder, kind, word, at=n, before=f"commit {n - 1}" if n else "nothing"
                )
                answer = urllib3.request(
                    "POST", getattr(up, port) + path, body=body, headers=headers, retries=False, timeout=5.0
                )
            except urllib3.exceptions.HTTPError:
                time.sleep(0.02)  # nobody is there: the next process is being started
                continue
            if answer.status == 202:
                self.acknowledged.append((word, answer.json()["id"]))
                self.sent.release()
                return
            # an approval of a commit whose push was acknowledged but is still being recorded: asked again, as a person would
            assert (kind, answer.status) == ("approve", 404) or answer.status == 503, (kind, answer.status, answer.data)
            time.sleep(0.02)
        raise AssertionError(f"{kind} of {word} was not accepted within a minute")


def test_kill_9_at_random_moments_loses_nothing_and_deploys_nothing_twice(tmp_path: Path) -> None:
    """After the last restart every acknowledged fact is in a journal, and each commit was deployed under one id per target."""
    Shop(tmp_path).stop()  # writes the configuration
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    dice = random.Random(seed)
    sender = _Sender(tmp_path)
    sender.up = up = Up(tmp_path)
    sender.start()
    for _ in range(KILLS):
        for _ in range(dice.randint(5, 30)):
            if not sender.sent.acquire(timeout=30):
                break
        time.sleep(dice.random() * 0.05)
        up.kill()
        sender.up = up = Up(tmp_path)
    sender.join(120)
    assert sender.problem is None, sender.problem
    assert not sender.is_alive()
    _wait_for_the_last(up)
    _every_fact_is_in_a_journal(up, sender.acknowledged)
    assert up.stop() == 0
    _one_id_per_commit_and_target(tmp_path)


def _wait_for_the_last(up: Up) -> None:
    """The last commit is the newest candidate: nothing may keep it from production."""
    last = f"/commits/{REPO}/{sha_of(f'commit {COMMITS - 1}')}"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        environment = up.get(last)["applications"]["shop"]["environments"]["production"]
        if environment["deployment"] and environment["deployment"]["outcome"] == "succeeded":
            return
        time.sleep(0.05)
    raise AssertionError(f"the last commit did not ship: {environment}")


def _every_fact_is_in_a_journal(up: Up, acknowledged: list[tuple[str, str]]) -> None:
    assert len(acknowledged) == len(_facts())
    journaled = {
        entry["id"]
        for n in range(COMMITS)
        for entry in up.get(f"/commits/{REPO}/{sha_of(f'commit {n}')}/journal")["entries"]
    }
    assert [word for word, id in acknowledged if id not in journaled] == []


def _one_id_per_commit_and_target(folder: Path) -> None:
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    fences: dict[str, list[int]] = defaultdict(list)
    for line in (folder / "config" / "deployed.log").read_text().splitlines():
        environment, sha, id, fence = line.split()
        ids[environment, sha].add(id)
        fences[environment].append(int(fence))
    assert [key for key, found in ids.items() if len(found) != 1] == []
    for found in fences.values():
        assert all(earlier <= later for earlier, later in itertools.pairwise(found)), (
            "an older fence acted after a newer one"
        )
