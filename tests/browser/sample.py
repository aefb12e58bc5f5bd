"""A team's week on one machine: four applications, three environments each, 37 commits in every state.

`PYTHONPATH=tests python -m browser.sample FOLDER` starts `greenlight up` in the folder, plays the week, and stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenlight.lib import signing
from support.process import Up
from support.timing import PATIENCE
from support.webhooks import standard

APPLICATIONS = ("web", "checkout", "search", "billing")
SCANNERS = ("dependency_scan", "static_code_scan", "accessibility_check")
AUTHORS = (("Dana Developer", "dana"), ("Omar Haddad", "omar"), ("Yuki Tanaka", "yuki"), ("Petra Novak", "petra"))
GROUPS = {"lena": "legal", "max": "legal", "rob": "release", "ria": "release", "dana": "developers"}
SECRET = b"whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cyBvZiBwYWdlcw=="

APPLICATION = """
  - name: {name}
    repo: acme/{name}
    branches: [main, "release/*"]
    operators: [release]
    gates:
      circle_ci_build_done: {{circleci: {{workflow: build-test}}}}
      dependency_scan: {{webhook: dependency_scan, max-age: 7d}}
      static_code_scan: {{webhook: static_code_scan}}
      accessibility_check: {{webhook: accessibility_check}}
      approval_from_legal: {{approval: {{groups: [legal], count: 1, not: author, expires: {expires}}}}}
      release_signoff: {{approval: {{groups: [release], count: 2, not: author}}}}
    environments:
      - name: dev
        require: []
        deploy: {{command: {{run: [./deploy.sh], timeout: 5m}}}}
      - name: staging
        after: [dev]
        require: [circle_ci_build_done, dependency_scan, static_code_scan]
        tries: 2
        deploy: {{command: {{run: [./deploy.sh], timeout: 5m}}}}
      - name: production
        after: [staging]
        require: [circle_ci_build_done, {scanners}, approval_from_legal, release_signoff]
        rollback: manual
        deploy: {{command: {{run: [./deploy.sh], timeout: 5m}}}}
"""

DEPLOY = """#!/bin/sh
how=$(cat "behave/$GREENLIGHT_SHA-$GREENLIGHT_ENVIRONMENT" 2>/dev/null || echo well)
echo "rolling out $GREENLIGHT_APPLICATION to $GREENLIGHT_ENVIRONMENT at $GREENLIGHT_SHA"
case $how in
fails) echo "waiting for 3 replicas"; echo "pod 2 of 3: CrashLoopBackOff: KeyError: 'PAYMENT_URL'"
       echo "health check failed: 503" >&2; exit 1 ;;
hangs) i=0; while [ $i -lt 9 ]; do i=$((i + 1)); echo "replica $i of 9 is up"; sleep 20; done ;;
breaks) kill -9 $$ ;;
*) echo "3 of 3 replicas answer with 200" ;;
esac
"""

HISTORY = {
    "web": ["Bump react to 19.2", "Fix header on Safari", "Cookie banner: new text", "Landing page for autumn sale",
            "Lazy-load product images"],
    "checkout": ["Round VAT per line", "Add Apple Pay", "Retry card capture once", "Log order id in every line",
                 "Drop the old cart API"],
    "search": ["Index synonyms nightly", "Typos: distance 2 for long words", "Cache facets for 30 s",
               "Fix pagination beyond page 100", "Move to index v7"],
    "billing": ["Invoices as PDF/A", "SEPA mandates: new form", "Dunning letters in Polish", "Credit notes",
                "Fix currency of refunds"],
}  # fmt: skip
"""By application, the commits that were pushed first; the first two and the last go all the way."""


def prepare(folder: Path, *, more: Mapping[str, Any] | None = None) -> None:
    """Write the configuration of the team: pipeline, people with a token each (their id), secrets, deploy script."""
    config, secrets = folder / "config", folder / "secrets"
    (config / "behave").mkdir(parents=True)
    secrets.mkdir()
    (secrets / "github").write_text("github\n")
    (secrets / "circleci").write_text("circleci\n")
    for name in SCANNERS:
        (secrets / f"gate-{name}").write_bytes(SECRET + b"\n")
    scanners = ", ".join(SCANNERS)
    applications = "".join(
        APPLICATION.format(name=name, scanners=scanners, expires="20s" if name == "billing" else "14d")
        for name in APPLICATIONS
    )
    (config / "pipeline.yaml").write_text(f"apiVersion: greenlight/v1\nkind: Pipeline\napplications:{applications}")
    people = {
        id: {
            "name": id.capitalize(),
            "github": id,
            "groups": [group],
            "tokens": ["sha256:" + hashlib.sha256(id.encode()).hexdigest()],
        }
        for id, group in GROUPS.items()
    }
    (config / "people.yaml").write_text(json.dumps({"people": {**people, **(more or {})}}))
    (config / "deploy.sh").write_text(DEPLOY)
    (config / "deploy.sh").chmod(0o755)


@dataclass
class Team:
    """The senders and the people of the team, in front of a running `greenlight up`."""

    up: Up
    heads: dict[tuple[str, str], str] = field(default_factory=dict)
    count: int = 0

    def push(self, application: str, message: str, author: int = 0, *, ref: str = "refs/heads/main",
             forced: bool = False, behaves: tuple[str, str] | None = None) -> str:  # fmt: skip
        """Push a commit with this message; `behaves` is how its deployment to an environment goes. Return its sha."""
        self.count += 1
        repo, (name, login) = f"acme/{application}", AUTHORS[author % len(AUTHORS)]
        sha = hashlib.sha1(f"{repo}{message}{self.count}".encode()).hexdigest()
        if behaves is not None:
            environment, how = behaves
            (self.up.folder / "config" / "behave" / f"{sha}-{environment}").write_text(how)
        person = {"name": name, "email": f"{login}@acme.example", "username": login}
        commit = {"id": sha, "tree_id": sha[::-1], "distinct": True, "message": message, "timestamp": _now(),
                  "url": f"https://github.com/{repo}/commit/{sha}", "author": person, "committer": person,
                  "added": [], "removed": [], "modified": ["a.py"]}  # fmt: skip
        before = self.heads.get((repo, ref), "0" * 40)
        self.heads[repo, ref] = sha
        url = f"https://github.com/{repo}"
        payload = {"ref": ref, "before": before, "after": sha, "created": False, "deleted": False, "forced": forced,
                   "base_ref": None, "commits": [commit], "head_commit": commit,
                   "pusher": {"name": login, "email": person["email"]}, "sender": {"login": login, "type": "User"},
                   "repository": {"id": 1, "full_name": repo, "html_url": url, "pushed_at": int(time.time()),
                                  "default_branch": "main"}}  # fmt: skip
        body = json.dumps(payload).encode()
        headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signing.github(b"github", body)}
        self._post("/webhooks/github", body, headers)
        return sha

    def builds(self, application: str, sha: str, status: str = "success") -> None:
        """Send the end of the CircleCI workflow."""
        self.count += 1
        url = f"https://github.com/acme/{application}"
        vcs = {"provider_name": "github", "origin_repository_url": url, "target_repository_url": url,
               "revision": sha, "branch": "main"}  # fmt: skip
        pipeline = {"id": f"p{sha[:10]}", "number": self.count, "created_at": _now(),
                    "trigger": {"type": "webhook"}, "vcs": vcs}  # fmt: skip
        payload = {"id": f"{sha}{self.count}", "type": "workflow-completed", "happened_at": _now(),
                   "webhook": {"id": "d", "name": "greenlight"},
                   "project": {"id": "d", "name": application, "slug": f"github/acme/{application}"},
                   "organization": {"id": "d", "name": "acme"},
                   "workflow": {"id": f"w{self.count}", "name": "build-test", "status": status, "created_at": _now(),
                                "stopped_at": _now(), "url": f"https://app.circleci.com/pipelines/{self.count}"},
                   "pipeline": pipeline}  # fmt: skip
        body = json.dumps(payload).encode()
        self._post("/webhooks/circleci", body, {"circleci-signature": signing.circleci(b"circleci", body)})

    def scans(self, application: str, sha: str, *names: str, outcome: str = "passed") -> None:
        """Send the result of scanners."""
        for name in names:
            self.count += 1
            evidence = f"https://scanner.acme.example/{name}/{self.count}"
            body = json.dumps({"repo": f"acme/{application}", "sha": sha, "outcome": outcome, "run": self.count,
                               "evidence": evidence}).encode()  # fmt: skip
            self._post(f"/webhooks/gates/{name}", body, standard(SECRET, f"m{self.count}", body))

    def says(self, person: str, path: str, **body: Any) -> dict[str, Any]:
        """Do what a person does, over the API; return the answer."""
        answer = self.up.http.request(
            "POST", f"{self.up.board}/api/v1{path}", body=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {person}", "Content-Type": "application/json"},
        )  # fmt: skip
        assert answer.status == 202, answer.data
        found: dict[str, Any] = answer.json()
        return found

    def approves(self, person: str, application: str, sha: str, gate: str, comment: str | None = None) -> None:
        self.says(person, f"/commits/acme/{application}/{sha}/approvals", application=application, gate=gate,
                  comment=comment)  # fmt: skip

    def green_for_staging(self, application: str, sha: str) -> None:
        self.builds(application, sha)
        self.scans(application, sha, *SCANNERS[:2])

    def green_for_production(self, application: str, sha: str, *, signers: tuple[str, ...] = ("rob", "ria")) -> None:
        self.green_for_staging(application, sha)
        self.scans(application, sha, SCANNERS[2])
        self.approves("lena", application, sha, "approval_from_legal", "licences are fine")
        for person in signers:
            self.approves(person, application, sha, "release_signoff")

    def runs(self, application: str, environment: str, sha: str) -> None:
        """Wait until a target runs a commit."""
        self.until(lambda: (self.target(application, environment)["running"] or {}).get("sha") == sha)

    def ends(self, application: str, environment: str, sha: str, outcome: str) -> None:
        """Wait until the newest deployment of a commit to a target has ended so."""

        def ended() -> bool:
            found = self.target(application, environment)["deployments"]
            return any(it["sha"] == sha and it["outcome"] == outcome for it in found)

        self.until(ended)

    def target(self, application: str, environment: str) -> dict[str, Any]:
        return self.up.get(f"/targets/{application}/{environment}")

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.05)

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        answer = self.up.http.request(
            "POST", self.up.webhooks + path, body=body, headers={"Content-Type": "application/json", **headers}
        )
        assert answer.status == 202, answer.data
        assert "id" in answer.json(), answer.data


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def play(team: Team) -> dict[str, str]:
    """Play the week; return the ids of the commits and deployments that wait, failed or are under way, by what they are."""
    past = {name: _history(team, name) for name in APPLICATIONS}
    shas: dict[str, str] = {}
    shas["expired"] = team.push("billing", "Tax rules 2027", 1)
    team.green_for_production("billing", shas["expired"], signers=("rob",))
    _web(team, shas)
    _checkout(team, shas, past["checkout"])
    _search(team, shas)
    shas["dev failed"] = team.push("billing", "Move cron to jobs", 3, ref="refs/heads/release/26.12",
                                   behaves=("dev", "fails"))  # fmt: skip
    team.ends("billing", "dev", shas["dev failed"], "failed")
    return shas


def _history(team: Team, application: str) -> list[str]:
    shas = []
    for number, message in enumerate(HISTORY[application]):
        sha = team.push(application, message, number)
        team.runs(application, "dev", sha)
        if number in (0, 1, 4):
            team.green_for_production(application, sha)
            team.runs(application, "production", sha)
        else:
            team.green_for_staging(application, sha)
            team.runs(application, "staging", sha)
        shas.append(sha)
    return shas


def _web(team: Team, shas: dict[str, str]) -> None:
    """Leave a red build, a red scan, one that waits for approvals, a hotfix and one that waits for everything."""
    shas["build failed"] = team.push("web", "Rework checkout banner", 1)
    team.builds("web", shas["build failed"], "failed")
    shas["scan failed"] = team.push("web", "Upgrade lodash")
    team.builds("web", shas["scan failed"])
    team.scans("web", shas["scan failed"], "dependency_scan", outcome="failed")
    team.scans("web", shas["scan failed"], "static_code_scan")
    shas["waits for approval"] = team.push("web", "A/B test of the buy button", 2)
    team.runs("web", "dev", shas["waits for approval"])
    team.green_for_staging("web", shas["waits for approval"])
    team.scans("web", shas["waits for approval"], SCANNERS[2])
    team.runs("web", "staging", shas["waits for approval"])
    shas["hotfix"] = team.push("web", "Hotfix: price shows NaN", 3, ref="refs/heads/release/2026.11")
    team.builds("web", shas["hotfix"])
    shas["waits for everything"] = team.push("web", "Newsletter form: double opt-in")
    team.runs("web", "dev", shas["waits for everything"])


def _checkout(team: Team, shas: dict[str, str], past: list[str]) -> None:
    """Leave a failed deployment with a rollback, an error, and an approval that was taken back."""
    shas["failed"] = team.push("checkout", "PayPal: new SDK", 2, behaves=("production", "fails"))
    team.runs("checkout", "dev", shas["failed"])
    team.green_for_production("checkout", shas["failed"])
    team.ends("checkout", "production", shas["failed"], "failed")
    shas["deployment failed"] = team.target("checkout", "production")["deployments"][0]["id"]
    team.says("rob", "/targets/checkout/production/deployments", kind="rollback", sha=past[1],
              reason="checkout is slow since 12:10")  # fmt: skip
    team.runs("checkout", "production", past[1])
    shas["revoked"] = team.push("checkout", "Gift cards")
    team.runs("checkout", "dev", shas["revoked"])
    team.green_for_staging("checkout", shas["revoked"])
    team.scans("checkout", shas["revoked"], SCANNERS[2])
    team.runs("checkout", "staging", shas["revoked"])
    team.approves("lena", "checkout", shas["revoked"], "approval_from_legal")
    team.says("lena", f"/commits/acme/checkout/{shas['revoked']}/revocations", application="checkout",
              gate="approval_from_legal", comment="licence of the font is missing")  # fmt: skip
    shas["error"] = team.push("checkout", "Round half even", 1, behaves=("staging", "breaks"))
    team.runs("checkout", "dev", shas["error"])
    team.green_for_staging("checkout", shas["error"])


def _search(team: Team, shas: dict[str, str]) -> None:
    """Leave a deployment under way, a paused target with commits that wait, and a forced push."""
    shas["running"] = team.push("search", "Vector search behind a flag", 1, behaves=("production", "hangs"))
    team.runs("search", "dev", shas["running"])
    team.green_for_production("search", shas["running"])
    team.until(lambda: team.target("search", "production")["deployment"] is not None)
    shas["deployment under way"] = team.target("search", "production")["deployment"]
    team.says("rob", "/targets/search/staging/pause", reason="index v7 is being rebuilt, until Monday")
    shas["paused"] = team.push("search", "Highlight matches", 2)
    team.green_for_staging("search", shas["paused"])
    shas["facets"] = team.push("search", "Facets in the URL", 3)
    team.scans("search", shas["facets"], "dependency_scan")
    shas["forced away"] = team.push("search", "WIP reindex", ref="refs/heads/release/7")
    shas["forced"] = team.push("search", "Reindex, squashed", ref="refs/heads/release/7", forced=True)
    team.runs("search", "dev", shas["forced"])


def main() -> int:
    """Start it, play the week, print the addresses, and stay until SIGTERM or Ctrl-C."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    prepare(folder)
    up = Up(folder, *sys.argv[2:])
    print(json.dumps(play(Team(up)), indent=1), up.board, up.webhooks, f"pid {os.getpid()}", sep="\n", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        signal.pause()
    finally:
        up.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
