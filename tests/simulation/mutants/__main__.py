"""`python -m mutants [NUMBER SEED]`: put each deliberate defect into a copy of the code, and see which test catches it.

With NUMBER, only so many of them, chosen by SEED. The exit code is 1 if one was not caught, or does not apply any more.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .defects import DEFECTS
from .edits import Defect, DoesNotApply, apply

ROOT = Path(__file__).parents[3]
STORIES = 600
"""Stories that a defect has to be caught in."""


def main(number: int, seed: int) -> int:
    """Try them, as many at a time as there are cores."""
    chosen = DEFECTS if number >= len(DEFECTS) else random.Random(seed).sample(DEFECTS, number)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        missed = [
            defect for defect, ok in zip(chosen, pool.map(lambda it: try_one(it, seed), chosen), strict=True) if not ok
        ]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} defects were caught")
    return 1 if missed else 0


def try_one(defect: Defect, seed: int) -> bool:
    """Whether the defect is caught."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        services = Path(folder) / "services"
        shutil.copytree(ROOT / "services", services, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            file = apply(defect, services)
        except DoesNotApply as problem:
            print(f"NOT APPLIED  {problem}", flush=True)
            return False
        done = subprocess.run(
            _command(defect, seed, services),
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": f"{services}:{ROOT / 'tests'}:{ROOT / 'tests' / 'simulation'}",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    where = f"{file.relative_to(services / 'greenlight')}:{defect.function}"
    if done.returncode != 1:
        print(f"NOT CAUGHT   {defect.name} ({where}) {done.stdout[-500:]}{done.stderr[-2000:]}", flush=True)
        return False
    print(f"caught       {defect.name} ({where})\n             {_what(done.stdout)}", flush=True)
    return True


def _command(defect: Defect, seed: int, services: Path) -> list[str]:
    if defect.caught_by == "stories":
        return [sys.executable, str(Path(__file__).parent / "hunt.py"), str(seed), str(STORIES)]
    options = ["-q", "-x", "-p", "no:cacheprovider", "-o", f"pythonpath={services} tests tests/simulation"]
    return [sys.executable, "-m", "pytest", *options, defect.caught_by]


def _what(output: str) -> str:
    """The line that says what caught it."""
    lines = [line for line in output.splitlines() if line.startswith(("story", "kept story", "FAILED", "ERROR"))]
    return lines[0][:200] if lines else output[-200:]


if __name__ == "__main__":
    arguments = [int(it) for it in sys.argv[1:]]
    sys.exit(main(*(arguments or [1 << 30]), *([] if len(arguments) > 1 else [2026])))
