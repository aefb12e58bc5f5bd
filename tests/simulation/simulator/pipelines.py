"""The pipeline files of stories. Each is named by words, such as `shop strict automatic`; both sides read the same words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from greenlight.model.policy import Pipeline
from support.policy import parse

EXPIRES, MAX_AGE = timedelta(hours=2), timedelta(hours=6)
"""How long an approval at the gate `legal` counts, and a verdict of the scanner."""

SOAK = timedelta(minutes=20)
"""How long ago a commit must have succeeded in staging where a story says `soak`."""

FROZEN = datetime(2026, 3, 1, 12, 45, tzinfo=UTC), datetime(2026, 3, 1, 14, 0, tzinfo=UTC)
"""From when and until when nothing goes out to production where a story says `frozen`."""

REQUEST_LASTS = timedelta(hours=4)
"""How long a request waits, pauses not counted."""

TRIES = {"staging": 3, "production": 2, "qa": 2}

TEXT = """
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: {application}
    {formerly}repo: acme/shop
    operators: [release]
    branches: [main, release]
    tags: ["v*"]
    gates:
      build: {{circleci: {{workflow: build}}}}
      scan: {{webhook: scan, max-age: 6h}}
      legal: {{approval: {{groups: [legal], not: author, expires: 2h}}}}
    environments:
      - {{name: staging, require: [{staging}], tries: 3, rollback: {rollback}, deploy: {{command: {{run: [./a]}}}}}}
      {qa}
      - name: production
        after: [{after}]
        require: [{production}]
        tries: 2
        rollback: {rollback}
        promote: {promote}
        freeze: [{freeze}]
        deploy: {{command: {{run: [./b]}}}}
"""
FREEZE = "{from: 2026-03-01 13:45, to: 2026-03-01 15:00, zone: Europe/Berlin, reason: sale}"
QA = "- {name: qa, require: [build], tries: 2, deploy: {command: {run: [./c]}}}"

APPLICATIONS = ("shop", "store")
"""The names that the application may have; the second one is formerly the first."""

GATES = ("build", "scan", "legal")


@dataclass(frozen=True)
class Place:
    """An environment, as a story's pipeline has it."""

    require: tuple[str, ...]
    after: tuple[str, ...] = ()
    automatic: bool = False
    asked: bool = False  # nothing begins by itself
    frozen: bool = False  # there is a freeze window
    soak: timedelta = timedelta()  # how long ago a commit must have succeeded in each of `after`


@dataclass(frozen=True)
class Rules:
    """The content of a story's pipeline, for the model."""

    application: str
    places: dict[str, Place]


@cache
def rules(words: str) -> Rules:
    """Return the rules that the words stand for."""
    named = words.split()
    automatic = "automatic" in named
    places = {
        "staging": Place(("build", "scan") if "scan" in named else ("build",), (), automatic),
        **({"qa": Place(("build",))} if "qa" in named else {}),
        "production": Place(
            GATES if "strict" in named else ("build",),
            ("staging",),
            automatic,
            "asked" in named,
            "frozen" in named,
            SOAK if "soak" in named else timedelta(),
        ),
    }
    return Rules(named[0], places)


@cache
def pipeline(words: str) -> Pipeline:
    """Return the same as Greenlight reads it."""
    meant = rules(words)
    text = TEXT.format(
        application=meant.application,
        formerly="formerly: shop\n    " if meant.application == "store" else "",
        staging=", ".join(meant.places["staging"].require),
        production=", ".join(meant.places["production"].require),
        rollback="automatic" if meant.places["staging"].automatic else "manual",
        after="{staging: 20m}" if meant.places["production"].soak else "staging",
        freeze=FREEZE if meant.places["production"].frozen else "",
        promote="manual" if meant.places["production"].asked else "automatic",
        qa=QA if "qa" in meant.places else "",
    )
    return parse({"pipeline.yaml": text}, Path("config"))
