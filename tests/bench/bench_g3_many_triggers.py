"""G3: a thousand Triggers on one Broker of which one matches; beside the same Broker with that one alone. CPU per event."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from measure import Row, interleaved

from greenlight.broker import log
from greenlight.broker.broker import Broker
from greenlight.broker.manifests import load_texts
from greenlight.events import Event
from greenlight.store import Store
from support.broker import BROKER, trigger

ROWS = ("G3",)
MANY = 1000
EVENTS = 500

FILTERS: Mapping[str, Callable[[int], str]] = {
    "by type": lambda n: f"filter: {{attributes: {{type: bench.{n}}}}}",
    "by an extension": lambda n: f"filter: {{attributes: {{tenant: t{n}}}}}",
    "exact and prefix": lambda n: f"filters: [{{all: [{{exact: {{tenant: t{n}}}}}, {{prefix: {{type: bench.}}}}]}}]",
    "cesql": lambda n: f"filters: [{{cesql: \"tenant = 't{n}' AND type LIKE 'bench.%'\"}}]",
}


def main() -> list[Row]:
    """A row for each way to say which events a Trigger wants."""
    rows = []
    for name, spec in FILTERS.items():
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            one, many = (stack.enter_context(_broker(folder / str(count), spec, count)) for count in (1, MANY))
            found = interleaved({"one": one, "many": many})
        costs = {which: figures["cpu"] for which, figures in found.items()}
        shown = {which: f"{cost * 1e6:.0f} us" for which, cost in costs.items()}
        measure = f"CPU per event, {MANY} Triggers against 1, {name}"
        rows.append(Row("G3", measure, shown["many"], shown["one"], costs["many"] / costs["one"], at_most=3.0))
    return rows


@contextmanager
def _broker(folder: Path, spec: Callable[[int], str], count: int) -> Iterator[Callable[[], dict[str, float]]]:
    def subscriber(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("202 Accepted", [])
        return []

    triggers = [trigger(f"t{n}", "one", spec=spec(n)) for n in range(count)]
    files = {f"{first:04}.yaml": "---".join(triggers[first : first + 100]) for first in range(0, count, 100)}
    manifests = load_texts({"broker.yaml": BROKER, **files})
    store = Store(folder / "broker.db", [log.SCHEMA])
    broker = Broker(store, manifests.brokers, manifests.triggers, services={"one": subscriber})
    broker.start()

    def measure() -> dict[str, float]:
        before = time.process_time()
        for n in range(EVENTS):
            broker.publish(Event(str(n), "/bench", "bench.0", extensions={"tenant": "t0"}, data=b"{}"))
        assert broker.idle(30)
        return {"cpu": (time.process_time() - before) / EVENTS}

    try:
        yield measure
    finally:
        broker.stop()
        store.close()
