"""A board with something of everything in it, and the description of its API as a test needs it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from greenlight.board import openapi
from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.entrypoints.compose import ThirdParties
from greenlight.events import Event
from greenlight.ledger.port import Transaction
from support.flow import PIPELINE, Shop, sha_of

TOKEN = f"gl_{'r' * 43}"
"""A token as `greenlight people token` makes it, which is looked up however many others were wrong."""


def filled(folder: Path) -> Shop:
    """Return a started shop: commits, deployments d1 to d4, a request, a pause, and dead letters of events e1 to e3.

    lena approves and operates, and so does rita, whose token is TOKEN.
    """
    refuse = ThirdParties(
        [TriggerSpec.to_service("refuse", "refuse")],
        {"refuse": lambda environ, start: (start("422 No", []) and []) or []},
    )
    pipeline = PIPELINE.replace("operators: [legal, engineering]", "operators: [legal]")
    shop = Shop(folder, pipeline=pipeline, third_parties=refuse)
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    with (folder / "config" / "people.yaml").open("a") as people:
        people.write(f"  rita: {{name: Rita, groups: [legal], tokens: ['sha256:{digest}']}}\n")
    shop.start()
    for word, before in (("one", "zero"), ("two", "one"), ("three", "two")):
        shop.push(word, before=before)
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.scan("two", "failed")
    shop.approve("one")
    shop.settle()
    shop.act("/targets/shop/production/pause", {"reason": "holiday"})
    shop.act("/targets/shop/production/deployments", {"kind": "deploy", "sha": sha_of("two"), "reason": "the fix"})
    ledger = shop.greenlight.ledger
    (ours,) = ledger.deployments("shop", "staging")
    ledger.transact(Transaction(deployments=[replace(ours, id=f"d{n}", version=0) for n in range(1, 5)]))
    for n in (1, 2, 3):
        shop.greenlight.broker.publish(Event(id=f"e{n}", source="/test", type="test.happened"))
    shop.settle()
    return shop


def dead_letters(shop: Shop) -> list[int]:
    """Return the numbers of the open dead letters."""
    return [it["id"] for it in shop.greenlight.broker.operations.dead_letters()]


def resolved(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part of the description, or what it refers to."""
    while "$ref" in value:
        found: Any = openapi.document()
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def inlined(schema: Any, *, strict: bool = True) -> Any:
    """Return a schema with all that it refers to inside; `strict`: an object has no members that are not described."""
    if isinstance(schema, list):
        return [inlined(it, strict=strict) for it in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        return inlined(resolved(schema), strict=strict)
    open = strict and "allOf" in schema
    found = {key: inlined(value, strict=strict and not open) for key, value in schema.items()}
    if open:
        return {**found, "unevaluatedProperties": False}
    return {"additionalProperties": False, **found} if strict and "properties" in schema else found


def validator(schema: Any, *, strict: bool = True) -> Draft202012Validator:
    """Return a validator of a schema of the description."""
    return Draft202012Validator(inlined(schema, strict=strict), format_checker=Draft202012Validator.FORMAT_CHECKER)


def names(values: Iterable[str]) -> dict[str, Any]:
    """Return the schema of a parameter that is one of these."""
    return {"type": "string", "enum": list(values)}
