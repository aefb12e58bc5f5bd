"""Look for known vulnerabilities and for licences that are not allowed in what the lock files name.

`make audit` runs it with the Python of .venv/tools: `audit.py [LOCK...]`, by default requirements/*.txt.

Exit codes: 0 nothing was found; 1 something was; 3 nothing was, but no database of advisories could be asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENVS = (ROOT / ".venv", ROOT / ".venv" / "tools")

FOUND, UNKNOWN = 1, 3
"""Exit codes."""


class Unreachable(Exception):
    """A database of advisories did not answer, or does not know every package."""


def main() -> int:
    locks = [Path(name) for name in sys.argv[1:]] or sorted((ROOT / "requirements").glob("*.txt"))
    refused = [line for venv in VENVS if (line := refused_licence(venv / "bin" / "python"))]
    for line in refused:
        print(line)
    print("licences: " + ("not all are allowed" if refused else "all are allowed"))
    try:
        known = known_vulnerabilities(locks)
    except Unreachable as problem:
        print(f"vulnerabilities: SKIPPED, no database of advisories can be reached from here:\n{problem}")
        return FOUND if refused else UNKNOWN
    for line in known:
        print(line)
    print(f"vulnerabilities: {len(known) or 'none'} known in {', '.join(lock.name for lock in locks)}")
    return FOUND if known or refused else 0


def refused_licence(python: Path) -> str:
    """The first package of an interpreter that has a licence which [tool.pip-licenses] does not allow; empty: none has."""
    done = _run("piplicenses", "--python", str(python))
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip()


def known_vulnerabilities(locks: Sequence[Path]) -> list[str]:
    """A line for each vulnerability, by the first service that can be asked. Unreachable says why none can."""
    named = os.environ.get("PIP_AUDIT_VULNERABILITY_SERVICE")
    problems = []
    for service in [named] if named else ["pypi", "osv"]:
        try:
            return [line for lock in locks for line in _ask(service, lock)]
        except Unreachable as problem:
            problems.append(f"  {service}: {problem}")
    raise Unreachable("\n".join(problems))


def _ask(service: str, lock: Path) -> list[str]:
    done = _run("pip_audit", "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off",
                "--require-hashes", "--disable-pip", "--requirement", str(lock))  # fmt: skip
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        raise Unreachable(done.stderr.strip().rpartition("\n")[2]) from None
    if skipped := [package["skip_reason"] for package in packages if "skip_reason" in package]:
        raise Unreachable(f"{len(skipped)} of {len(packages)} packages of {lock.name}, such as: {skipped[0]}")
    return [
        f"{lock.name}: {package['name']} {package['version']}: {', '.join([it['id'], *it['aliases']])}, "
        f"fixed in {', '.join(it['fix_versions']) or 'no version'}"
        for package in packages
        for it in package["vulns"]
    ]


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
