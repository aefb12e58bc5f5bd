"""E: verified webhook intake per core, nothing stored on either side, beside Go's net/http as installed."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import timeit
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import Row, child, cpu, go_program, interleaved, load, python

from greenlight.lib import signing
from greenlight.lib.strictjson import loads
from support.flow import push_payload
from support.webhooks import PIPELINE

ROWS = ("E",)
SECONDS = 1.5
CONNECTIONS = 16
SECRET = b"secret of the benchmark"


def main() -> list[Row]:
    """The server has one core to itself, the load generator the other; the figures are the server's."""
    with tempfile.TemporaryDirectory() as name:
        folder, body = Path(name), json.dumps(github_push(), separators=(",", ":")).encode()
        _prepare(folder, body)
        commands: dict[str, Sequence[str]] = {
            "ours": [*python("intake_process.py"), str(folder), "whole"],
            "server": [*python("intake_process.py"), str(folder), "server"],
            "go": [str(go_program("intake")), SECRET.decode()],
        }
        found = interleaved({who: lambda words=words: _measured(words, folder) for who, words in commands.items()})  # type: ignore[misc]
    _shares(body, found)
    ours, go = found["ours"], found["go"]
    version = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()
    return [
        Row(
            "E",
            "verified webhooks per second, one core",
            f"{ours['rate']:.0f}/s",
            f"{go['rate']:.0f}/s",
            ours["rate"] / go["rate"],
            at_least=0.5,
            note=f"{version} net/http and encoding/json",
        ),
        Row("E", "CPU each", _us(ours["cpu"]), _us(go["cpu"]), go["cpu"] / ours["cpu"], at_least=0.5),
    ]


def _prepare(folder: Path, body: bytes) -> None:
    (folder / "pipeline.yaml").write_text(PIPELINE.format(repo="acme/shop"))
    (folder / "secrets").mkdir()
    (folder / "secrets" / "github").write_bytes(SECRET + b"\n")
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/abc1234",
        "Accept": "*/*",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-GitHub-Event": "push",
        "X-GitHub-Hook-ID": "292430182",
        "X-Hub-Signature-256": signing.github(SECRET, body),
    }
    head = "\n".join(f"{name}: {value}" for name, value in headers.items())
    (folder / "request").write_bytes(f"{head}\n\n".encode() + body)


def _measured(command: Sequence[str], folder: Path) -> dict[str, float]:
    """One server, warmed up, then measured."""
    with _on_core(0), child(*command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip() + "/webhooks/github"
        words = ("-url", url, "-request", folder / "request", "-connections", CONNECTIONS, "-seconds")
        with _on_core(-1):
            load("post", *words, 0.5)
            before = cpu(process.pid)
            figures = load("post", *words, SECONDS)
        spent = cpu(process.pid) - before
    assert not figures["refused"], f"{figures['refused']:.0f} requests were refused"
    return {**figures, "rate": figures["requests"] / figures["seconds"], "cpu": spent / figures["requests"]}


@contextmanager
def _on_core(n: int) -> Iterator[None]:
    """What is started in the block runs on that core alone, of those that we may use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[n]} if len(before) > 1 else before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _shares(body: bytes, found: Mapping[str, Mapping[str, float]]) -> None:
    """Where our time goes: the server as measured, two steps by themselves, and the rest."""
    parts = {
        "server": found["server"]["cpu"],
        "JSON": _each(lambda: loads(body)),
        "HMAC": _each(lambda: signing.check_github(signing.github(SECRET, body), body, [(SECRET, None)])) / 2,
    }
    parts["request, response, fact and event"] = found["ours"]["cpu"] - sum(parts.values())
    print(f"  {len(body)} bytes; CPU of ours: " + ", ".join(f"{name} {_us(value)}" for name, value in parts.items()))


def _each(step: Any, times: int = 300) -> float:
    return min(timeit.repeat(step, number=times, repeat=5)) / times


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us"


def github_push() -> dict[str, Any]:
    """A push of three commits with all that GitHub says of a repository and its people: about 8 KB."""
    payload = push_payload("one")
    repository, sender = payload["repository"], payload["sender"]
    api = "https://api.github.com"
    for part in _PARTS.split():
        repository[f"{part.partition('/')[0]}_url"] = f"{api}/repos/Acme/Shop/{part}{{/sha}}"
    repository |= dict.fromkeys(_COUNTS.split(), 1234) | dict.fromkeys(_FLAGS.split(), False)
    repository |= {"id": 186853002, "node_id": "MDEwOlJlcG9zaXRvcnkxODY4NTMwMDI=", "name": "Shop", "license": None}
    repository |= {
        "created_at": 1557933565,
        "updated_at": "2026-01-01T11:59:00Z",
        "default_branch": "main",
        "topics": [],
    }
    sender |= {"id": 21031067, "node_id": "MDQ6VXNlcjIxMDMxMDY3", "type": "User", "site_admin": False}
    for part in _PERSON.split():
        sender[f"{part}_url"] = f"{api}/users/{sender['login']}/{part}"
    repository["owner"] = {**sender, "login": "Acme", "type": "Organization"}
    payload["organization"] = {"login": "Acme", "id": 38302899, "url": f"{api}/orgs/Acme", "description": ""}
    head = payload["head_commit"]
    earlier = [dict(head, id=f"{n:040x}", message="Prices have a currency\n\nAs asked for.") for n in (1, 2)]
    for commit in (*earlier, head):
        commit |= {"url": f"https://github.com/Acme/Shop/commit/{commit['id']}"}
        commit |= {"added": ["shop/money.py", "tests/test_money.py"], "modified": ["shop/prices.py", "README.md"]}
    return {**payload, "commits": [*earlier, head], "base_ref": None, "compare": f"{api}/compare/a...b"}


_PARTS = (
    "forks keys collaborators teams hooks issue_events events assignees branches tags blobs git_tags git_refs trees statuses "
    "languages stargazers contributors subscribers subscription commits git_commits comments issue_comment contents compare "
    "merges archive downloads issues pulls milestones notifications labels releases deployments"
)
_PERSON = "avatar followers following gists starred subscriptions organizations repos events received_events"
_COUNTS = "size stargazers_count watchers_count forks_count open_issues_count forks open_issues watchers stargazers"
_FLAGS = "private fork has_issues has_projects has_downloads has_wiki has_pages archived disabled"
