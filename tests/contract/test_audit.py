"""`make audit`: what it finds, and that it says so when it could find nothing out."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.tools import tool

pytestmark = pytest.mark.tools

ROOT = Path(__file__).parents[2]

HOLE = {
    "id": "GHSA-9298-4cf8-g4wj",
    "summary": "Request processing race condition",
    "aliases": ["CVE-2024-49768"],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "waitress"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "2.0.0"}, {"fixed": "3.0.1"}]}],
        }
    ],
}


class _Advisories(BaseHTTPRequestHandler):
    """Answers as osv.dev does, and knows of one vulnerability."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        has_it = (asked["package"]["name"], asked["version"]) == ("waitress", "3.0.0")
        body = json.dumps({"vulns": [HOLE]} if has_it else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def advisories() -> Iterator[str]:
    """The address of a database of advisories."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Advisories) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def _audit(url: str, *locks: Path, **env: str) -> tuple[int, str]:
    done = subprocess.run(
        [tool("python"), str(ROOT / "tests" / "audit.py"), *map(str, locks)],
        env={**os.environ, "PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": url, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return done.returncode, done.stdout


def _lock(folder: Path, version: str) -> Path:
    path = folder / "lock.txt"
    path.write_text(f"waitress=={version} --hash=sha256:{'0' * 64}\n")
    return path


def test_a_known_vulnerability_is_named_with_what_mends_it(advisories: str, tmp_path: Path) -> None:
    """And ends the audit with 1."""
    code, said = _audit(advisories, _lock(tmp_path, "3.0.0"))
    assert code == 1, said
    assert "lock.txt: waitress 3.0.0: CVE-2024-49768, GHSA-9298-4cf8-g4wj, fixed in 3.0.1" in said


def test_every_lock_file_is_looked_at(advisories: str) -> None:
    """What is installed, what tests and builds, and the oldest versions that are admitted."""
    code, said = _audit(advisories)
    assert code == 0, said
    assert "licences: all are allowed" in said
    names = sorted(path.name for path in (ROOT / "requirements").iterdir())
    assert f"vulnerabilities: none known in {', '.join(names)}" in said
    assert {"image.txt", "lowest.txt", "tools.txt"} < set(names)


def test_an_audit_that_could_ask_nobody_says_that_it_was_skipped(tmp_path: Path) -> None:
    """It is no success: 3 means that nobody knows."""
    code, said = _audit("http://127.0.0.1:9/v1/query", _lock(tmp_path, "3.0.0"))
    assert code == 3, said
    assert "vulnerabilities: SKIPPED, no database of advisories can be reached from here:" in said
    assert "osv: " in said


def test_a_licence_that_is_not_allowed_is_named(advisories: str, tmp_path: Path) -> None:
    """Such as one that asks for the sources of whatever it is linked into."""
    folder = tmp_path / "copyleft-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: copyleft\nVersion: 1.0\nLicense-Expression: AGPL-3.0-only\n"
    )
    code, said = _audit(advisories, _lock(tmp_path, "3.0.2"), PYTHONPATH=str(tmp_path))
    assert code == 1, said
    assert "license AGPL-3.0-only not in allow-only licenses was found for package copyleft:1.0" in said
