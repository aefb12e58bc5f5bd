"""The proof of a release: everything in it that has to come up is watched, and a failure is reported early."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from greenlight.deployer.clusters.api import Api, Object
from greenlight.deployer.clusters.refusals import Refused
from greenlight.deployer.rollout import pods as podsof
from greenlight.deployer.rollout import states, workloads
from greenlight.deployer.rollout.followed import COMPLETED, Followed
from greenlight.deployer.rollout.pods import Sign
from greenlight.deployer.rollout.states import State
from greenlight.deployer.rollout.workloads import Workload
from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError, Unavailable

LASTS: Mapping[str, float] = {
    "crash-loop": 0.0,  # the kubelet says it after the second crash
    "image": 10.0,  # a registry may be slow to answer once
    "configuration": 5.0,
    "refused": 5.0,  # a quota frees itself while old pods end
    "volume": 60.0,
    "unschedulable": 60.0,  # an autoscaler may be adding a node
    "probe": 60.0,
    "missing": 20.0,  # an operator may be making it anew
}
"""Seconds that a bad sign may last before it is a failure."""

BEGINNINGS = ("image", "configuration", "refused", "volume", "unschedulable")
"""Signs of what has not begun to run."""

SILENT = 3.0
"""Seconds in which an object of a kind that we do not know may begin to say something about itself."""

SETTLE = 5.0
"""Seconds that a container without a readiness probe has to run, and its pods to stay up, before that counts."""

LONG_AGO = 60.0
"""Seconds by which a container's start has to be longer ago than it has to run, by its node's clock, to believe that clock."""

LOG_LINES = 20

MISSING = "is not there: it was deleted after it was applied; a retry applies it again"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a rollout: proven, or failed for a reason, and the details for people."""

    proven: bool
    reason: str
    details: str = ""


class Rollout:
    """Follow the objects of one release until they are up, or cannot be, or it is too late.

    One thread asks at a time.
    """

    def __init__(
        self,
        api: Api,
        manifest: Iterable[Any],
        namespace: str,
        deadline: datetime,
        clock: Clock,
        *,
        patience: float | None = None,
        settle: float | None = None,
        since: datetime | None = None,
    ) -> None:
        """Keep `patience`, the seconds that any bad sign may last, else each its own time; `settle` is as SETTLE.

        `since` is when the release was applied, by the API server's clock: what ended before does not count.
        """
        self._api, self._deadline, self._clock, self._patience = api, deadline, clock, patience
        self._settle = SETTLE if settle is None else settle
        self._applied = since
        self._all = workloads.workloads(manifest, namespace)
        self._followed = Followed(api, self._all)
        self._since: dict[tuple[str, str], float] = {}
        self._begun = clock.monotonic()
        self._closed = threading.Event()
        self._following = False
        self._running: dict[str, float] = {}  # a container's life -> since when we have seen it run
        self._look_at = math.inf
        self._reported: dict[Workload, str] = {}

    @property
    def objects(self) -> Sequence[Workload]:
        """Return what has to come up."""
        return self._all

    def watch(self, seconds: float) -> Verdict | None:
        """Wait at most `seconds` for the end.

        Raises ConfigurationError where a right is missing, Unavailable where the time is up and the cluster cannot be asked.
        """
        return self._wait(seconds, self._judge)

    def cannot_begin(self, seconds: float) -> Verdict | None:
        """Wait at most `seconds` for an object made since the release was applied whose pods cannot begin.

        Whether they come up is checked elsewhere.
        """
        return self._wait(seconds, self._judge_beginnings)

    def _wait(self, seconds: float, judge: Callable[[], Verdict | None]) -> Verdict | None:
        if not self._following:
            self._followed.begin()
            self._following = True
        end = self._clock.monotonic() + seconds
        while True:
            verdict = judge()
            if verdict is not None:
                return verdict
            left = min(end - self._clock.monotonic(), self._until_a_sign_fails())
            if end <= self._clock.monotonic() or self._closed.is_set():
                return None
            self._followed.wait(max(left, 0.0))

    def unfinished(self) -> str:
        """Return the state of the first unfinished object made since the release was applied; empty if all are done."""
        pods, sets, events = (
            self._followed.of_kind("Pod"),
            self._followed.of_kind("ReplicaSet"),
            self._followed.warnings(),
        )
        for each, item in self._made_since():
            state = states.state(item)
            if not state.done and not state.failed:
                signs = podsof.signs(item, pods, sets, events)
                why = signs[0].message if signs else podsof.first_idle(item, pods, sets, self._clock.now())
                return f"{each}: {why or state.message}"
        return ""

    def news(self, *, made: bool = False) -> list[str]:
        """Return a line for each object whose state has changed since the last call: how far it is, and why no further.

        With `made`, only for objects made since the release was applied.
        """
        if not self._followed.complete:
            return []
        each_of = [each for each, _ in self._made_since()] if made else self._followed.known
        lines = {each: self._line(each) for each in each_of}
        changed = [f"{each}: {line}" for each, line in lines.items() if self._reported.get(each) != line]
        self._reported.update(lines)
        return changed

    def close(self) -> None:
        """Stop following."""
        self._closed.set()
        self._followed.close()

    def _judge(self) -> Verdict | None:
        """Return the end, if it is known."""
        if self._followed.unknown:
            return self._failed(*next(iter(self._followed.unknown.items())), ())
        if not self._followed.complete:
            return self._late("its objects have not been read yet")
        found = {each: self._state(each) for each in self._all}
        pods, sets, events = (
            self._followed.of_kind("Pod"),
            self._followed.of_kind("ReplicaSet"),
            self._followed.warnings(),
        )
        for each, state in found.items():
            if state.failed:
                return self._failed(each, state.message, self._signs(each, pods, sets, events))
        if all(state.done for state in found.values()):
            if self._unsettled(pods, sets):
                return self._late("its pods have only just begun to run")
            return Verdict(True, "", "\n".join(f"{each}: {state.message}" for each, state in found.items()))
        bad = [
            (each, sign)
            for each, state in found.items()
            for sign in ([] if state.done else self._signs(each, pods, sets, events))
        ]
        lasted = self._lasted(bad)
        if lasted is not None:
            return lasted
        each, state = next((each, state) for each, state in found.items() if not state.done)
        item = self._followed.item(each)
        idle = podsof.not_ready(item, pods, sets, self._clock.now()) if item is not None else ""
        return self._late(f"{each}: {idle or state.message}", self._signs(each, pods, sets, events))

    def _judge_beginnings(self) -> Verdict | None:
        pods, sets, events = (
            self._followed.of_kind("Pod"),
            self._followed.of_kind("ReplicaSet"),
            self._followed.warnings(),
        )
        bad = [
            (each, sign)
            for each, item in self._made_since()
            for sign in podsof.signs(item, pods, sets, events)
            if sign.kind in BEGINNINGS
        ]
        return self._lasted(bad)

    def _made_since(self) -> Iterator[tuple[Workload, Object]]:
        """Yield the objects that are there, without those of an earlier release that have the same names."""
        for each in self._followed.known:
            item = self._followed.item(each)
            if item is not None and (self._applied is None or _made(item) >= self._applied):
                yield each, item

    def _lasted(self, bad: Sequence[tuple[Workload, Sign]]) -> Verdict | None:
        """Return the failure that one of the bad signs has become; signs that are gone are forgotten."""
        now = self._clock.monotonic()
        self._since = {(sign.kind, sign.uid): self._since.get((sign.kind, sign.uid), now) for _, sign in bad}
        for each, sign in bad:
            if now - self._since[sign.kind, sign.uid] >= self._lasts(sign):
                return self._failed(each, sign.message, [sign])
        return None

    def _unsettled(self, pods: Sequence[Object], sets: Sequence[Object]) -> bool:
        """Return whether a container without a readiness probe has run for too short a time; set when to look again."""
        now, waits = self._clock.monotonic(), []
        for each in self._all:
            item = self._followed.item(each)
            if item is None:
                continue
            if podsof.incomplete(item, pods, sets):
                seen = self._running.setdefault(item["metadata"]["uid"], now)
                waits += [seen + self._settle] if now - seen < self._settle else []
            for life, started in podsof.unproven(item, pods, sets):
                if started is None:
                    waits.append(math.inf)  # what comes next is news
                    continue
                seen = self._running.setdefault(life, now)
                age = (self._clock.now() - datetime.fromisoformat(started)).total_seconds()
                if age < LONG_AGO + self._settle and now - seen < self._settle:
                    waits.append(seen + self._settle)
        self._look_at = min(waits, default=math.inf)
        return bool(waits)

    def _state(self, each: Workload) -> State:
        item = self._followed.item(each)
        if item is None and each.expires and self._completed(each):
            return State(True, "has completed, and its ttlSecondsAfterFinished removed it")
        if item is None:
            return State(False, MISSING)
        state = states.state(item)
        quiet = state.silent and self._clock.monotonic() - self._begun < SILENT
        return State(False, "has no status yet") if quiet else state

    def _line(self, each: Workload) -> str:
        state, item = self._state(each), self._followed.item(each)
        if state.done or state.failed or item is None:
            return state.message
        pods, sets = self._followed.of_kind("Pod"), self._followed.of_kind("ReplicaSet")
        bad = self._signs(each, pods, sets, self._followed.warnings())
        why = bad[0].message if bad else podsof.first_idle(item, pods, sets)
        return f"{state.message}; {why}" if why else state.message

    def _signs(
        self, each: Workload, pods: Sequence[Object], sets: Sequence[Object], events: Sequence[Object]
    ) -> list[Sign]:
        item = self._followed.item(each)
        if item is None:
            return [Sign("missing", MISSING, uid=f"{each.api_version}/{each}")]
        return podsof.signs(item, pods, sets, events)

    def _completed(self, each: Workload) -> bool:
        """Return whether the Job's controller has written that it completed since the release was applied."""
        return any(
            event.get("reason") == COMPLETED
            and event["involvedObject"].get("kind") == each.kind
            and event["involvedObject"].get("namespace", each.namespace) == each.namespace
            and event["involvedObject"].get("name") == each.name
            and (self._applied is None or _time(event) >= self._applied)
            for event in self._followed.of_kind("Event")
        )

    def _lasts(self, sign: Sign) -> float:
        return LASTS[sign.kind] if self._patience is None else self._patience

    def _until_a_sign_fails(self) -> float:
        """Return the seconds until the next look without any event: a sign has lasted, or the time is up."""
        now = self._clock.monotonic()
        waits = [(self._deadline - self._clock.now()).total_seconds()]
        for (kind, _), since in self._since.items():
            waits.append(since + (LASTS[kind] if self._patience is None else self._patience) - now)
        if now - self._begun < SILENT:
            waits.append(self._begun + SILENT - now)
        waits.append(self._look_at - now)
        return max(min(waits), 0.01)

    def _late(self, message: str, signs: Sequence[Sign] = ()) -> Verdict | None:
        if self._clock.now() < self._deadline:
            return None
        if self._followed.lost:
            raise next(iter(self._followed.lost.values()))
        why = signs[0].message if signs else message
        return self._explained(f"was not up in time: {message}" + (f"; {why}" if why != message else ""), signs)

    def _failed(self, each: Workload, message: str, signs: Sequence[Sign]) -> Verdict:
        extra = f"; {signs[0].message}" if signs and signs[0].message != message else ""
        return self._explained(f"{each}: {message}{extra}", signs)

    def _explained(self, reason: str, signs: Sequence[Sign]) -> Verdict:
        """Return the reason with details for people: the last lines of the container's log, and its pod's events."""
        sign = next((sign for sign in signs if sign.pod), None)
        if sign is None or sign.pod is None:
            return Verdict(False, reason, self._warnings(None))
        log = self._log(sign)
        last = log.strip().rpartition("\n")[2].strip()
        words = f"; its last words: {last[:200]}" if last else ""
        parts = [f"The last lines of {sign.pod}, container {sign.container}:\n{log}"] if log else []
        return Verdict(False, reason + words, "\n".join([*parts, self._warnings(sign.uid)]).strip())

    def _log(self, sign: Sign) -> str:
        """Return the end of the container's log, of its previous life where it crashed.

        What cannot be read is left out.
        """
        if sign.kind not in ("crash-loop", "probe") or sign.container is None:
            return ""
        pod = next((pod for pod in self._followed.of_kind("Pod") if pod["metadata"]["uid"] == sign.uid), None)
        if pod is None:
            return ""
        meta = pod["metadata"]
        query = {"container": sign.container, "tailLines": str(LOG_LINES), "limitBytes": "8192"}
        if sign.kind == "crash-loop":
            query["previous"] = "true"
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/log"
        with contextlib.suppress(Refused, Unavailable, ConfigurationError):
            return self._api.text(path, query)
        return ""

    def _warnings(self, uid: str | None) -> str:
        events = [one for one in self._followed.warnings() if uid is None or one["involvedObject"].get("uid") == uid]
        events.sort(key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
        return "\n".join(
            f"{one['involvedObject'].get('kind')} {one['involvedObject'].get('name')}: {one.get('reason')}: "
            f"{one.get('message', '')}"
            for one in events[-10:]
        )


def _made(item: Object) -> datetime:
    """Return when an object was made."""
    return datetime.fromisoformat(str(item["metadata"]["creationTimestamp"]))


def _time(event: Object) -> datetime:
    """Return when an event was written last."""
    return datetime.fromisoformat(str(event.get("lastTimestamp") or event.get("eventTime")))
