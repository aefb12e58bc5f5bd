"""The checks of tests/contract/test_docs_extending.py, in a process that imports an extended copy of the source."""

from __future__ import annotations

import hmac
import json
import sys
import time
from pathlib import Path

import jsonschema

from greenlight.entrypoints.pointed import pointed
from greenlight.events.schemas import schema
from support.flow import Shop
from support.policy import MAIN, parse, recorded, situation
from support.webhooks import PIPELINE, SHA, Rig, gate_body

TOKEN = b"buildkite token"


def buildkite(folder: Path) -> None:
    """Check that a signed build opens the gate, and that a wrong, old or missing signature and a fork's build do not."""
    rig = Rig(folder, secrets={"buildkite": TOKEN})

    def post(state: str, *, token: bytes = TOKEN, age: int = 0, **build: object) -> tuple[int, dict[str, str]]:
        details = {"id": "b", "number": 7, "state": state, "commit": SHA, "branch": "main", "tag": None, **build}
        built = {"slug": "shop-build", "repository": "git@github.com:Acme/Shop.git"}
        body = json.dumps({"event": "build.finished", "build": details, "pipeline": built}).encode()
        stamp = int(time.time()) - age
        signature = hmac.digest(token, f"{stamp}.".encode() + body, "sha256").hex()
        header = {"X-Buildkite-Signature": f"timestamp={stamp},signature={signature}"}
        answer = rig.post("/webhooks/buildkite", body, header)
        return answer.status_code, json.loads(answer.get_data())

    assert post("passed", token=b"another")[0] == 401
    assert post("passed", age=3600)[0] == 401
    assert rig.post("/webhooks/buildkite", b"{}", {}).status_code == 401
    assert rig.client.get("/webhooks/buildkite").status_code == 405
    status, document = post("passed")
    assert status == 202, document
    assert post("passed") == (status, document), "a repetition has the same id"
    fact = rig.ledger.fact(document["id"])
    assert fact is not None
    assert (fact.repo, fact.sha, fact.outcome, fact.refs) == ("acme/shop", SHA, "passed", (MAIN,))
    fork = post("passed", id="fork", pull_request={"repository": "git://github.com/other/shop.git"})[1]
    forked = rig.ledger.fact(fork["id"])
    assert forked is not None
    assert forked.foreign
    taken = {"ce-type": "com.buildkite.build", "ce-id": "1", "ce-source": "/x", "ce-specversion": "1.0"}
    (folder / "events").mkdir()
    other = Rig(folder / "events")
    refused = other.event(json.dumps({"repo": "acme/shop", "sha": SHA}).encode(), taken)
    assert refused.status_code == 422, "only the provider's own route sends its types"
    text = PIPELINE.format(repo="acme/shop").replace("{circleci: {workflow: build-test}}", "{buildkite: shop-build}")
    pipeline = parse({"pipeline.yaml": text}, folder)
    policy = pipeline.applications["shop"]
    assert policy.gates["build"].sender == "buildkite"
    line = f"Point buildkite at it: https://YOUR-HOST/webhooks/buildkite, the secret in {folder}/buildkite"
    assert line in [sender.how for sender in pointed("http://127.0.0.1:8081", folder, pipeline)]
    for of, state in ((fact, "passed"), (forked, "pending")):
        case = situation(policy, recorded(of, commit=SHA))
        assert policy.gates["build"].state(case).state == state
    rig.close()
    other.close()


def skipped(folder: Path) -> None:
    """Check that a scanner's report becomes an event of the type, which names its schema and fits it.

    The gate stays pending.
    """
    shop = Shop(folder).start()
    shop.push("one")
    shop.scan("one", "skipped")
    event = shop.watch.until(lambda event: event.type == "gate.skipped")
    assert event.dataschema == "urn:greenlight:schema:gate.skipped:v1"
    jsonschema.validate(event.json(), schema("gate.skipped"))
    shop.settle()
    gate = shop.commit("one")["applications"]["shop"]["gates"]["scan"]
    assert (gate["state"], "skipped" in gate["reason"]) == ("pending", True), gate
    shop.stop()
    rig = Rig(folder)
    assert rig.gate(gate_body(outcome="ignored")).status_code == 422
    rig.close()


if __name__ == "__main__":
    source, what, where = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    found = sys.modules["greenlight"].__file__
    assert found is not None
    assert Path(found).is_relative_to(source), found
    {"buildkite": buildkite, "skipped": skipped}[what](where)
