"""The artifacts of a commit, as far as an application may rely on them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from greenlight.model.policy import Policy
from greenlight.model.rows import Record
from greenlight.policy.gates.signal import Reader
from greenlight.policy.refs import counts


def digests(policy: Policy, record: Record) -> Mapping[str, tuple[str, ...]]:
    """Return the digests of each artifact that were named by facts which count, by name.

    A fact counts if it was made for a ref that the application ships, for none, or for any where a gate takes it.
    """
    found = {
        name: tuple(digest for digest in named if _counts(policy, record.named.get(f"{name}@{digest}", {"": ("",)})))
        for name, named in sorted(record.artifacts.items())
    }
    return {name: named for name, named in found.items() if named}


def _counts(policy: Policy, named: Mapping[str, tuple[str, ...]]) -> bool:
    readers = [gate for gate in policy.gates.values() if isinstance(gate, Reader) and gate.any_branch]
    return any(
        any(not ref or counts(policy, ref) for ref in refs) or any(gate.reads(signal) for gate in readers)
        for signal, refs in named.items()
    )
