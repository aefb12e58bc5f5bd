"""The broker's manifests are looked at again and again; what cannot be read just then changes nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from greenlight.broker.manifest_watcher import ManifestWatcher
from greenlight.broker.trigger_spec import Manifests
from support.process import no_files_left

BROKER = """apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: NAME}
"""


@pytest.fixture
def taken() -> list[list[str]]:
    """The names of the Brokers, each time that edited manifests were taken up."""
    return []


@pytest.fixture
def change(taken: list[list[str]]) -> Callable[[Manifests], set[str]]:
    def change(found: Manifests) -> set[str]:
        taken.append([broker.name for broker in found.brokers])
        return set()

    return change


@pytest.mark.parametrize("place", ["broker.yaml", "brokers/broker.yaml"])
def test_manifests_that_cannot_be_read_now_are_taken_up_once_they_can(
    tmp_path: Path,
    place: str,
    taken: list[list[str]],
    change: Callable[[Manifests], set[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No descriptor is left just then: no Broker goes away, the log says why once, and the edit is not forgotten."""
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(BROKER.replace("NAME", "one"))
    watch = ManifestWatcher([tmp_path], change)
    file.write_text(BROKER.replace("NAME", "another"))
    with caplog.at_level(logging.WARNING, "greenlight.broker"), no_files_left():
        for _ in range(4):
            watch.look()
    assert taken == []
    assert caplog.text.count("cannot be taken up now, and will be") == 1
    for _ in range(2):
        watch.look()
    assert taken == [["another"]]


def test_a_file_that_cannot_be_read_between_two_looks_is_read_again(
    tmp_path: Path,
    taken: list[list[str]],
    change: Callable[[Manifests], set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The folder can be listed and the file cannot be opened: the edit waits, it is not called wrong."""
    file = tmp_path / "broker.yaml"
    file.write_text(BROKER.replace("NAME", "one"))
    watch = ManifestWatcher([tmp_path], change)
    file.write_text(BROKER.replace("NAME", "another"))
    watch.look()
    with monkeypatch.context() as patched:

        def refuse(*_: object, **__: object) -> str:
            raise OSError(24, "Too many open files")

        patched.setattr(os, "open", refuse)
        watch.look()
    assert taken == []
    watch.look()
    assert taken == [["another"]]
