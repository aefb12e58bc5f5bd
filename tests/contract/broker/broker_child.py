"""A broker in a process that is killed: publishes until then, and prints the id of each event once it is durable.

Arguments: folder, number of this life. The last life, which nobody kills, ends by itself when everything is settled.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from greenlight.broker import log
from greenlight.broker.broker import Broker
from greenlight.broker.manifests import load_folder
from greenlight.events import Event
from greenlight.store import Store

PRODUCERS = 4
EVENTS = 400


def main(folder: Path, life: str) -> None:
    """Publish EVENTS events, wait until they are settled, end."""
    manifests = load_folder(folder)
    broker = Broker(Store(folder / "broker.db", [log.SCHEMA]), manifests.brokers, manifests.triggers)
    broker.start()
    lock = threading.Lock()

    def say(line: str) -> None:
        with lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def produce(number: int) -> None:
        for n in range(EVENTS // PRODUCERS):
            id = f"{life}-{number}-{n}"
            broker.publish(Event(id, "/crash", "test.happened", data=b"x" * 500))
            say(id)

    say("ready")
    threads = [threading.Thread(target=produce, args=(number,)) for number in range(PRODUCERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broker.idle(60), broker.lag()
    assert broker.dead_letters() == []
    broker.stop()


main(Path(sys.argv[1]), sys.argv[2])
