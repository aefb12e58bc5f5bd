"""The objects of one release as they are in the cluster: listed once, then watched, each collection by a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from greenlight.deployer.clusters.api import Api, Object, Watch
from greenlight.deployer.clusters.refusals import Forbidden, Gone, NotFound, Refused
from greenlight.deployer.rollout import states
from greenlight.deployer.rollout.kinds import Kinds
from greenlight.deployer.rollout.workloads import Workload
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.lib.merged_sources import MergedSources

NO_KIND = (
    "the cluster has no kind {kind} of {version} (any more): install its CustomResourceDefinition, or take the object out "
    "of the chart"
)

COMPLETED = "Completed"
"""The reason of the event that the Job controller writes (pkg/controller/job of Kubernetes)."""

_COMPLETIONS = (("fieldSelector", f"involvedObject.kind=Job,reason={COMPLETED}"),)


@dataclass(frozen=True, slots=True)
class _Collection:
    """Objects that are followed together."""

    path: str
    query: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _News:
    """A collection's news: its objects anew (`type` is None), one change, or why it cannot be followed."""

    collection: _Collection
    type: str | None
    items: Sequence[Object] = ()
    problem: Exception | None = None


class Followed:
    """Follow the objects from `begin` to `close`. One thread at a time takes what the followers found, and reads it."""

    def __init__(self, api: Api, every: Sequence[Workload]) -> None:
        self._api, self._all = api, every
        self._sources: MergedSources[_News] = MergedSources()
        self._objects: dict[_Collection, dict[tuple[str, str], Object]] = {}
        self._listed: set[_Collection] = set()
        self._ended: dict[Workload, Object] = {}  # a Job that was seen to end is removed by its ttlSecondsAfterFinished
        self._watches: dict[_Collection, Watch] = {}
        self.known: dict[Workload, _Collection] = {}  # where each workload is found
        self.unknown: dict[Workload, str] = {}  # what the cluster has no kind for, and why
        self.lost: dict[_Collection, Unavailable] = {}  # what cannot be read just now

    @property
    def complete(self) -> bool:
        """Return whether every workload's collection has been read."""
        return set(self.known.values()) <= self._listed

    def wait(self, seconds: float) -> None:
        """Take what the followers found, after at most `seconds`. Raises ConfigurationError where a right is missing."""
        for news in self._sources.next(seconds):
            self._take(news)

    def close(self) -> None:
        """Stop following."""
        self._sources.close()
        for watch in list(self._watches.values()):
            watch.close()

    def item(self, each: Workload) -> Object | None:
        """Return the object of a workload; a Job that has ended and was removed, as it ended."""
        known = self._objects.get(self.known[each], {})
        item = known.get((each.namespace, each.name)) or known.get(("", each.name)) or self._ended.get(each)
        # A list's items do not say what they are.
        return None if item is None else {**item, "apiVersion": each.api_version, "kind": each.kind}

    def warnings(self) -> list[Object]:
        """Return the warnings that were written about the objects."""
        return [event for event in self.of_kind("Event") if event.get("reason") != COMPLETED]

    def of_kind(self, kind: str) -> list[Object]:
        """Return the known objects of the kind Pod, ReplicaSet or Event."""
        plural = {"Pod": "/pods", "ReplicaSet": "/replicasets", "Event": "/events"}[kind]
        return [
            item for found, items in self._objects.items() if found.path.endswith(plural) for item in items.values()
        ]

    def begin(self) -> None:
        """Begin to follow: each workload, and the pods, ReplicaSets and warnings of their namespaces."""
        kinds = Kinds(self._api)
        names: dict[str, list[Workload]] = {}
        for each in self._all:
            path = kinds.collection(each.api_version, each.kind, each.namespace)
            if path is None:
                self.unknown[each] = NO_KIND.format(kind=each.kind, version=each.api_version)
            else:
                names.setdefault(path, []).append(each)
        for path, group in names.items():
            one = (("fieldSelector", f"metadata.name={group[0].name}"),) if len(group) == 1 else ()
            collection = _Collection(path, one)
            self.known |= dict.fromkeys(group, collection)
        followed = set(self.known.values())
        for namespace in {each.namespace for each in self._all}:
            theirs = {each.kind for each in self._all if each.namespace == namespace}
            followed.add(_Collection(f"/api/v1/namespaces/{namespace}/pods"))
            followed.add(_Collection(f"/api/v1/namespaces/{namespace}/events", (("fieldSelector", "type=Warning"),)))
            if any(each.expires and each.namespace == namespace for each in self._all):
                followed.add(_Collection(f"/api/v1/namespaces/{namespace}/events", _COMPLETIONS))
            if theirs & {"Deployment", "Rollout"}:
                followed.add(_Collection(f"/apis/apps/v1/namespaces/{namespace}/replicasets"))
        for collection in followed:
            self._sources.add(f"watch {collection.path}", self._follower(collection))

    def _follower(self, collection: _Collection) -> Callable[[Callable[[_News], None], threading.Event], None]:
        query = dict(collection.query)

        def follow(put: Callable[[_News], None], stopped: threading.Event) -> None:
            while not stopped.is_set():
                try:
                    listed = self._api.list(collection.path, query)
                    put(_News(collection, None, listed.get("items") or ()))
                    watch = self._api.watch(collection.path, query, listed["metadata"]["resourceVersion"])
                    self._watches[collection] = watch
                    if stopped.is_set():
                        watch.close()
                    for type, item in watch:
                        if type != "BOOKMARK":
                            put(_News(collection, type, [item]))
                except Gone:
                    continue
                except Unavailable as problem:
                    put(_News(collection, None, (), problem))
                    stopped.wait(1.0)
                except (Refused, ConfigurationError) as problem:
                    put(_News(collection, None, (), problem))
                    return

        return follow

    def _take(self, news: _News) -> None:
        known = self._objects.setdefault(news.collection, {})
        if isinstance(news.problem, Unavailable):
            self.lost[news.collection] = news.problem  # what was known may be so no longer
            return
        if news.problem is not None:
            self._cannot(news.collection, news.problem)
            return
        if news.type is None:
            self.lost.pop(news.collection, None)
            known.clear()
            self._listed.add(news.collection)
        for item in news.items:
            key = (item["metadata"].get("namespace", ""), item["metadata"]["name"])
            self._remember(news.collection, key, item)
            if news.type == "DELETED":
                known.pop(key, None)
            else:
                known[key] = item

    def _remember(self, collection: _Collection, key: tuple[str, str], item: Object) -> None:
        """Keep a Job's end, which holds though the Job is removed; one that was made anew has not ended."""
        for each in self._all:
            if each.kind == "Job" and self.known.get(each) == collection and key == (each.namespace, each.name):
                if states.ended(item):
                    self._ended[each] = item
                else:
                    self._ended.pop(each, None)

    def _cannot(self, collection: _Collection, problem: Exception) -> None:
        """Raise ConfigurationError for what must be read; without events and logs only the reasons are shorter."""
        if collection.path.endswith("/events") and isinstance(problem, Forbidden | NotFound):
            return
        gone = [each for each, of in self.known.items() if of == collection]
        if gone and isinstance(problem, NotFound):  # its CustomResourceDefinition was removed
            self.unknown |= {each: NO_KIND.format(kind=each.kind, version=each.api_version) for each in gone}
            return
        raise ConfigurationError(f"the rollout cannot be watched: {problem}; docs/deployer-helm.md lists the rights")
