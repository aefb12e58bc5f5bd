"""Many stories on all cores, from where the last run stopped."""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .story import Story, shortened, written

CHUNK = 25
"""Stories after which a worker reports, so that little is lost when a run is stopped."""

STEPS = 60


@dataclass
class Tally:
    """The counts of stories."""

    stories: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[int, str]] = field(default_factory=list)  # seed, rule

    def add(self, other: Tally) -> None:
        """Add two counts."""
        self.stories += other.stories
        self.counts += other.counts
        self.states += other.states
        self.broken += other.broken

    def story(self, seed: int, story: Story) -> None:
        """Count one more story."""
        assert story.world is not None
        self.stories += 1
        self.counts += story.world.counts
        self.states += story.world.states
        self.broken += [(seed, story.violations[0])] if story.violations else []

    def text(self) -> str:
        """Return lines for people.

        They count stories, faults by kind, requests of people, checks by rule, states that were reached.
        """
        checks = {name[8:]: number for name, number in self.counts.items() if name.startswith("checked ")}
        others = {name: number for name, number in self.counts.items() if not name.startswith(("checked ", "ignored "))}
        lines = [f"stories {self.stories}, broken {len(self.broken)}"]
        for title, part in (("faults and actions", others), ("rules checked", checks), ("states", self.states)):
            shown = ", ".join(
                f"{name} {number}" for name, number in sorted(part.items(), key=lambda it: (-it[1], it[0]))
            )
            lines.append(f"{title}: {shown}")
        return "\n".join(lines)


def chunk(first: int, number: int) -> Tally:
    """Play the stories of so many seeds from `first` on."""
    tally = Tally()
    for seed in range(first, first + number):
        tally.story(seed, written(seed, steps=STEPS))
    return tally


@dataclass
class Progress:
    """A run that can be stopped: its seed, and what was played of it, in a file."""

    file: Path
    seed: int
    wanted: int
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, file: Path, seed: int | None, wanted: int) -> Progress:
        """Return the run in the file, if it was not finished and no other seed is wanted; else a new one."""
        fresh = cls(file, secrets.randbelow(1 << 32) if seed is None else seed, wanted)
        try:
            kept = json.loads(file.read_text())
        except (OSError, ValueError):
            return fresh
        if kept["stories"] >= kept["wanted"] or seed not in (None, kept["seed"]):
            return fresh
        broken = [(seed, rule) for seed, rule in kept["broken"]]
        tally = Tally(kept["stories"], Counter(kept["counts"]), Counter(kept["states"]), broken)
        return cls(file, kept["seed"], wanted, tally)

    def save(self) -> None:
        """Write it down."""
        kept = {
            "seed": self.seed,
            "wanted": self.wanted,
            "stories": self.tally.stories,
            "counts": self.tally.counts,
            "states": self.tally.states,
            "broken": self.tally.broken,
        }
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(kept))
        os.replace(fresh, self.file)

    def left(self) -> Sequence[int]:
        """Return the first seeds of the chunks that are left.

        They are played in order, so a number records what was played.
        """
        return range(self.seed + self.tally.stories, self.seed + self.wanted, CHUNK)


def run(folder: Path, seed: int | None, wanted: int, workers: int) -> Tally:
    """Play until so many stories were played; each broken one is shortened and kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress.of(folder / "progress.json", seed, wanted)
    print(
        f"SIMULATION_SEED={progress.seed}: {progress.tally.stories} of {wanted} stories were played before", flush=True
    )
    with ProcessPoolExecutor(workers) as pool:
        firsts = progress.left()
        for part in pool.map(chunk, firsts, [CHUNK] * len(firsts)):
            progress.tally.add(part)
            progress.save()
            for broken, rule in part.broken:
                short = shortened(written(broken, steps=STEPS))
                file = folder / f"{broken}.json"
                file.write_text(short.text())
                print(f"seed {broken}: {rule}\n  {len(short.steps)} steps in {file}", flush=True)
    return progress.tally
