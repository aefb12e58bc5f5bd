"""docs/extending.md: its gate and its driver are one file each, found where they lie; whatever reads a pipeline knows them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from greenlight.deployer import drivers
from greenlight.deployer.driver import Order
from greenlight.deployer.drivers import registry as drivers_registry
from greenlight.lib.clock import SystemClock
from greenlight.lib.scrub import Scrubber
from greenlight.model.policy import Policy
from greenlight.policy import gates
from greenlight.policy.decide import decide
from greenlight.policy.driver import Drivers
from greenlight.policy.explain import explain
from greenlight.policy.gates import registry
from greenlight.policy.load import PolicyError, missing, parse
from greenlight.policy.schema import schema
from support.policy import heard, minute, push, pushed, recorded, sha, situation

ROOT = Path(__file__).parents[3]
GATE, DRIVER = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs/extending.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
PIPELINE = """\
apiVersion: greenlight/v1
kind: Pipeline
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates: {built: {artifact: shop}}
    environments:
      - {name: staging, require: [], deploy: {file: {path: staging.txt}}}
      - {name: production, require: [built], deploy: {file: {path: PATH}}}
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drivers]:
    """The registries once the two files lie in their packages; what they find is all the drivers."""
    for package, name, text in ((gates, "artifact", GATE), (drivers, "file", DRIVER)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    before = dict(sys.modules)
    monkeypatch.setattr(registry, "KINDS", {kind.kind: kind for kind in registry.find()})
    _forget_schema()
    yield {found.driver: found for found in drivers_registry.find()}
    for name in set(sys.modules) - set(before):
        if name.startswith((f"{gates.__name__}.", f"{drivers.__name__}.")):
            _forget(sys.modules.pop(name))
    _forget_schema()


def _forget(module: ModuleType) -> None:
    package, _, name = module.__name__.rpartition(".")
    if hasattr(sys.modules[package], name):
        delattr(sys.modules[package], name)


def _forget_schema() -> None:
    from greenlight.policy import schema

    schema._schema.cache_clear()


def shop(drivers: Drivers, path: str = "production.txt") -> Policy:
    return parse({"p.yaml": PIPELINE.replace("PATH", path)}, Path("config"), drivers).applications["shop"]


def test_a_kind_of_gate_is_one_file(added: Drivers) -> None:
    """It is in the schema, read, explained and decided on."""
    assert "artifact" in schema(added)["$defs"]["gate"]["properties"]
    policy = shop(added)
    assert "built  artifact shop was built" in explain(policy)
    built = [heard("x", "passed", at=at, artifacts={"shop": f"sha256:{at}"}) for at in (1, 2)]
    for facts, state in ((built[:0], "waiting"), (built[:1], "ready"), (built, "blocked")):
        here = push(sha(1))
        assert decide(situation(policy, recorded(pushed(here), *facts), None, [here], minute(60))).state == state


def test_a_driver_is_one_file(added: Drivers, tmp_path: Path) -> None:
    """It is in the schema, checked, explained, and deploys."""
    policy = shop(added)
    assert "deploys     by file: the commit's id in production.txt" in explain(policy)
    with pytest.raises(PolicyError, match=r"production\.deploy\.file\.path: '\.\./x' leads out of the folder"):
        shop(added, "../x")
    (problem,) = missing({"p.yaml": PIPELINE.replace("PATH", "gone/x.txt")}, tmp_path, added)
    assert problem.line == 10
    declared = drivers_registry.DRIVERS | added
    driver = declared["file"].make(tmp_path, Scrubber(), SystemClock())
    config = policy.environments["production"].deploy.config
    order = Order("d", "shop", "production", "acme/shop", sha(1), 1, 0, "", config, tmp_path)
    assert driver.apply(order).outcome == "succeeded"
    assert (tmp_path / "production.txt").read_text() == f"{sha(1)}\n"


def test_without_the_files_nothing_knows_them() -> None:
    """What the tests above add is gone again."""
    with pytest.raises(PolicyError, match="unknown gate kind 'artifact'"):
        shop(drivers_registry.DRIVERS)
