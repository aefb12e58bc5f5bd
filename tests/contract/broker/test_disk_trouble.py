"""A disk that fills up, or fails to sync, under a broker that works: it refuses, keeps what it has, and goes on by itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from greenlight.broker import runtime
from greenlight.lib.errors import Unavailable
from support.broker import (
    FAST,
    PATIENCE,
    Recorder,
    Request,
    Response,
    event,
    post,
    reply,
    running,
    trigger,
    wsgi_server,
)
from support.disk import FULL, IOERR_FSYNC, OK, Disk, watched


def headers(id: str) -> dict[str, str]:
    return {"ce-specversion": "1.0", "ce-id": id, "ce-type": "test.happened", "ce-source": "/test"}


@pytest.mark.parametrize(("what", "code"), [("write", FULL), ("sync", IOERR_FSYNC)])
def test_a_disk_in_trouble_refuses_events_delivers_what_it_has_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, code: int
) -> None:
    """503 with Retry-After and nothing taken; reads go on; verdicts of deliveries are kept until they can be written."""
    monkeypatch.setattr(runtime, "STORE_RETRY", 0.05)
    trouble, gate = threading.Event(), threading.Event()
    disk = Disk(lambda step: code if trouble.is_set() and step.what == what else OK)

    def answer(n: int, request: Request) -> Response:
        assert gate.wait(PATIENCE)
        if request.headers["ce-type"] == "test.reply":
            return 202, {}, b""
        return (
            (422, {}, b"")
            if request.headers["ce-id"] == "dead"
            else reply("r-" + request.headers["ce-id"], "test.reply")
        )

    recorder = Recorder(answer)
    one, services = trigger("one", "s", spec=FAST), {"s": recorder}
    with watched(disk), running(tmp_path, one, services=services, synchronous="FULL") as broker:
        with wsgi_server(broker.ingress) as url:
            address = f"{url}/test/default"
            for id in ("a", "b", "dead"):
                assert post(address, headers(id)).status == 202
            trouble.set()
            for _ in range(3):
                refused = post(address, headers("refused"))
                assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
                assert b"nothing was taken" in refused.data
                with pytest.raises(Unavailable):
                    broker.ready()
            gate.set()
            recorder.wait(3)  # what was accepted before is delivered all the same
            assert broker.dead_letters() == []  # which is a read; it is not written yet
            assert recorder.ids().count("refused") == 0
            trouble.clear()
            broker.ready()
            assert post(address, headers("taken")).status == 202
            assert broker.idle(PATIENCE)
            assert [letter.stored.event.id for letter in broker.dead_letters()] == ["dead"]
        assert sorted(recorder.ids()) == ["a", "b", "dead", "r-a", "r-b", "r-taken", "taken"]
    with running(tmp_path, one, services=services) as broker:
        broker.publish(event("after"))
        assert broker.idle(PATIENCE)
    assert sorted(set(recorder.ids()) - {"after", "r-after"}) == ["a", "b", "dead", "r-a", "r-b", "r-taken", "taken"]
    assert len(recorder.ids()) == 9, "an orderly end after the trouble repeats nothing"
