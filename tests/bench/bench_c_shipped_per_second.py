"""C: durable commits per second from webhooks to deployment.succeeded, two cores, the load generator's share included."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from measure import Row, child, interleaved, load, ms, python

from greenlight.lib import signing
from support.flow import REPO, build_payload, push_payload, sha_of

ROWS = ("C",)
LANES = 16  # repositories, each with one commit on its way at a time
COMMITS = 100
"""Of each lane, at most."""
SECONDS = 3
SECRET = "secret of the benchmark"
TARGETS = {"command": 95.0, "in-process": 160.0}
NOTE = "the baseline is the target, an absolute figure"
MEASURES = {"command": "commits shipped per second, a process each", "in-process": "the same, in-process driver"}


def main() -> list[Row]:
    """Each commit is a signed push and a signed build; the next of its repository follows once it has been deployed."""
    found = interleaved({driver: lambda driver=driver: _shipped(driver) for driver in TARGETS})  # type: ignore[misc]
    rows = []
    for driver, figures in found.items():
        print(f"  {driver}: build sent -> shipped p50 {ms(figures['p50'])}, p99 {ms(figures['p99'])}")
        rate, wanted = figures["rate"], TARGETS[driver]
        rows.append(
            Row("C", MEASURES[driver], f"{rate:.0f}/s", f"{wanted:.0f}/s", rate / wanted, at_least=1.0, note=NOTE)
        )
    return rows


def _shipped(driver: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configure(folder)
        requests = folder / "requests"
        requests.write_text("".join(signed_commit(n % LANES, n // LANES) for n in range(LANES * COMMITS)))
        command = [*python("ship_process.py"), str(folder), driver]
        with (folder / "log").open("wb") as log, child(*command, stdout=subprocess.PIPE, stderr=log) as process:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            assert url, (folder / "log").read_text()[-3000:]
            figures = load("ship", "-url", url, "-requests", requests, "-seconds", SECONDS, stdin=process.stdout)
    return {**figures, "rate": figures["commits"] / figures["seconds"]}


def configure(folder: Path) -> None:
    (folder / "config").mkdir()
    (folder / "secrets").mkdir()
    for sender in ("github", "circleci"):
        (folder / "secrets" / sender).write_text(f"{SECRET}\n")
    applications = [
        {
            "name": f"shop{lane}",
            "repo": f"{REPO}{lane}",
            "branches": ["main"],
            "gates": {"build": {"circleci": {"workflow": "build-test"}}},
            "environments": [
                {"name": "production", "require": ["build"], "deploy": {"command": {"run": ["true"], "timeout": "30s"}}}
            ],
        }
        for lane in range(LANES)
    ]
    pipeline = {"apiVersion": "greenlight/v1", "kind": "Pipeline", "applications": applications}
    (folder / "config" / "pipeline.yaml").write_text(json.dumps(pipeline))
    (folder / "config" / "people.yaml").write_text("people: {}\n")


def signed_commit(lane: int, n: int) -> str:
    """A line for the load generator: the commit's push and its build, signed."""
    word = f"commit {n} of {lane}"
    push = of_lane(lane, push_payload(word, before=f"commit {n - 1} of {lane}", at=n))
    build = of_lane(lane, build_payload(word, number=n + 1))
    secret = SECRET.encode()
    requests = [
        {"path": "/webhooks/github", "body": push.decode(),
         "headers": ["X-GitHub-Event: push", f"X-Hub-Signature-256: {signing.github(secret, push)}"]},
        {"path": "/webhooks/circleci", "body": build.decode(),
         "headers": [f"circleci-signature: {signing.circleci(secret, build)}"]},
    ]  # fmt: skip
    for request in requests:
        request["headers"].append("Content-Type: application/json")  # type: ignore[attr-defined]
    return json.dumps({"lane": lane, "done": sha_of(word), "requests": requests}) + "\n"


def of_lane(lane: int, payload: object) -> bytes:
    """The payload, of the lane's repository."""
    text = json.dumps(payload)
    return text.replace("Acme/Shop", f"{REPO}{lane}").replace(f'{REPO}"', f'{REPO}{lane}"').encode()
