"""C2: pushes that are recorded and decided per second, until nothing is left; two cores, the load generator's share included.

6 senders push to 16 repositories, then 64 senders to one, each its next push as soon as the last one was answered.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench_c_shipped_per_second import LANES, SECRET, configure, of_lane
from measure import Row, child, interleaved, load, ms, python

from greenlight.lib import signing
from support.flow import push_payload

ROWS = ("C2",)
SECONDS = 4
PUSHES = 6000
"""Of all senders, at most."""
CASES = {"6 senders on 16 repositories": (6, LANES, 230.0), "64 senders on one": (64, 1, 110.0)}
NOTE = "the baseline is the target, an absolute figure"


def main() -> list[Row]:
    """What is left is counted one second after the last answer."""
    found = interleaved(
        {
            name: lambda senders=senders, repos=repos: _decided(senders, repos)
            for name, (senders, repos, _) in CASES.items()
        }  # type: ignore[misc]
    )
    rows = []
    for name, figures in found.items():
        wanted = CASES[name][2]
        print(f"  {name}: answered p50 {ms(figures['p50'])}, p99 {ms(figures['p99'])}; left {figures['left']:.0f}")
        rows.append(
            Row("C2", f"pushes decided per second, {name}", f"{figures['rate']:.0f}/s", f"{wanted:.0f}/s",
                figures["rate"] / wanted, at_least=1.0, note=NOTE)
        )  # fmt: skip
        rows.append(Row("C2", "of these undecided one second later", f"{figures['left']:.0f}", "0"))
    return rows


def _decided(senders: int, repositories: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configure(folder)
        requests = folder / "requests"
        requests.write_text("".join(_push(n % senders, n, repositories) for n in range(PUSHES)))
        command = [*python("ship_process.py"), str(folder), "in-process"]
        with (folder / "log").open("wb") as log, child(*command, stdout=subprocess.PIPE, stderr=log) as process:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            assert url, (folder / "log").read_text()[-3000:]
            figures = load("ship", "-url", url, "-requests", requests, "-seconds", SECONDS, stdin=process.stdout)
            time.sleep(1)  # the row says what is left then
            left = figures["commits"] - _decisions(folder)
    return {**figures, "left": left, "rate": (figures["commits"] - left) / figures["seconds"]}


def _decisions(folder: Path) -> int:
    (file,) = (folder / "data").glob("*.db")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM decisions").fetchall()
    return int(count)


def _push(sender: int, n: int, repositories: int) -> str:
    """A line for the load generator: one signed push, and nothing to wait for but its answer."""
    lane = (n // 7 + sender) % repositories
    body = of_lane(lane, push_payload(f"push {n}", before=f"before push {n}", at=n))
    headers = [
        "Content-Type: application/json",
        "X-GitHub-Event: push",
        f"X-Hub-Signature-256: {signing.github(SECRET.encode(), body)}",
    ]
    request = {"path": "/webhooks/github", "body": body.decode(), "headers": headers}
    return json.dumps({"lane": sender, "done": "", "requests": [request]}) + "\n"
