"""`make bench`: every benchmark, one after the other. Prints; fails only if a benchmark cannot run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "services")]


def main() -> None:
    wanted = set(sys.argv[1:])
    for file in sorted(HERE.glob("bench_*.py")):
        if wanted and file.stem.removeprefix("bench_") not in wanted:
            continue
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        print(f"\n== {(module.__doc__ or file.stem).splitlines()[0]}", flush=True)
        module.main()


main()
