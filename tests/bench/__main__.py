"""`make bench`: every benchmark, or those of the rows that are named. One table at the end; fails only if one cannot run.

python -m tests.bench                      all
python -m tests.bench G B                  these rows
python -m tests.bench --some 4 --seed 7    four files of benchmarks, chosen by the seed
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import random
import sys
import time
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "services")]

from measure import Missing, Row, fsync_p50, table  # noqa: E402


def main(wanted: set[str], some: int | None, seed: int) -> None:
    """Each file bench_*.py names its rows in ROWS; its main() prints what it likes, and returns rows for the table."""
    files = sorted(HERE.glob("bench_*.py"))
    chosen = files if some is None or some >= len(files) else sorted(random.Random(seed).sample(files, some))
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"fsync p50 {fsync_p50() * 1e3:.2f} ms",
        flush=True,
    )
    rows: list[Row] = []
    for file in chosen:
        module = _module(file)
        if wanted and not wanted & {name.upper() for name in module.ROWS}:
            continue
        print(f"\n== {(module.__doc__ or file.stem).splitlines()[0]}", flush=True)
        start = time.monotonic()
        try:
            rows += module.main() or []
        except Missing as problem:
            print(f"  skipped: {problem}")
            rows += [Row(name, "skipped", note=str(problem)) for name in module.ROWS]
        print(f"  ({time.monotonic() - start:.0f} s)", flush=True)
    if rows:
        print(f"\n{table(rows)}\n\n  load at the end {os.getloadavg()[0]:.1f}")


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


parser = argparse.ArgumentParser(prog="python -m tests.bench")
parser.add_argument("rows", nargs="*", type=str.upper, metavar="ROW")
parser.add_argument("--some", type=int, metavar="NUMBER")
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()
main(set(arguments.rows), arguments.some, arguments.seed)
