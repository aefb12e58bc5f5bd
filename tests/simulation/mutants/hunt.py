"""`python hunt.py SEED STORIES [FILE]`: play stories until one breaks a rule; say which, and exit 1.

Stories that are kept come first. With FILE, a new one is kept there, shortened.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from simulator.many import STEPS
from simulator.story import kept, played, shortened, written

FAILURES = Path(__file__).parents[1] / "stories"


def main(seed: int, stories: int, keep: str | None = None) -> int:
    """The exit code: 1 a rule was broken, 0 none was."""
    for file in sorted(FAILURES.glob("*.json")):
        story = kept(file.read_text())
        again = played(story.many, story.words, story.steps, chain=story.chain)
        if again.violations:
            print(f"kept story {file.stem}: {again.violations[0]}")
            return 1
    seeds = random.Random(seed)
    for number in range(1, stories + 1):
        one = seeds.randrange(1 << 32)
        story = written(one, steps=STEPS)
        if story.violations:
            print(f"story {number} (seed {one}): {story.violations[0]}", flush=True)
            if keep is not None:
                Path(keep).write_text(shortened(story).text())
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
