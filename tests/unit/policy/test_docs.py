"""What docs/policy.md and the example file show is what is read."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.policy.schema import schema
from support.policy import parse

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs/policy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE)
AROUND = """\
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates:
{gates}
    environments: [{{name: production, require: [], deploy: {{command: {{run: [true]}}}}}}]
"""


@pytest.mark.parametrize("block", BLOCKS)
def test_every_example_of_the_docs_is_right(block: str) -> None:
    """A whole file, or gates."""
    text = block if block.startswith("apiVersion") else AROUND.format(gates=indent(block, " " * 6))
    assert parse({"docs.yaml": text.replace("[true]", '["true"]')}, Path("config")).applications["shop"].gates


def test_the_docs_show_every_kind_of_gate() -> None:
    """With an example each."""
    kinds = {choice["required"][0] for choice in schema(DRIVERS)["$defs"]["gate"]["oneOf"]}
    text = AROUND.format(gates=indent(BLOCKS[1], " " * 6)).replace("[true]", '["true"]')
    assert {gate.kind for gate in parse({"d": text}, Path()).applications["shop"].gates.values()} == kinds


def test_the_docs_name_every_field() -> None:
    """Of every mapping in the schema."""

    def fields(at: Any) -> set[str]:
        inner = at.values() if isinstance(at, dict) else at if isinstance(at, list) else ()
        own = set(at["properties"]) if isinstance(at, dict) and isinstance(at.get("properties"), dict) else set()
        return own.union(*(fields(item) for item in inner))

    words = set(re.findall(r"[A-Za-z-]+", DOCS))
    assert fields(schema(DRIVERS)) <= words


def test_the_docs_explain_every_decision() -> None:
    """The four states of the vocabulary."""
    means, causes = DOCS.split("## Decisions")[1].split("Every state has a cause")
    assert re.findall(r"^\| `(\w+)` \| ", means, re.MULTILINE) == ["ready", "waiting", "blocked", "superseded"]
    assert set(re.findall(r"^\| `(\w+)` \| ", causes, re.MULTILINE)) == {"waiting", "blocked", "superseded"}


def test_the_example_file_is_right() -> None:
    """It is what one copies first."""
    text = (ROOT / "config/pipeline.example.yaml").read_text(encoding="utf-8")
    shop = parse({"pipeline.example.yaml": text}, ROOT / "config").applications["shop"]
    assert list(shop.environments) == ["staging", "production"]
    assert {environment.deploy.driver for environment in shop.environments.values()} == {"command"}
