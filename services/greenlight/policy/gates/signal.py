"""Gates that are opened by signals: the newest fact of every source has to pass. Only success passes, only failure fails."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ClassVar

from greenlight.lib.durations import span
from greenlight.model.policy import GateState, Situation
from greenlight.model.rows import Run, Signal
from greenlight.policy import refs
from greenlight.policy.gates.kind import Kind, day, lasting, newest_revocation, revoked
from greenlight.policy.signals import age, parts

_WORSE = ("passed", "expired", "pending", "failed")
"""What each source says, from good to bad."""

_NAMED = 3
"""Sources that a reason names."""

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Reader(Kind):
    """A gate that reads signals."""

    signal: ClassVar[str]  # what the keys of its signals begin with (greenlight.policy.signals)
    of_a_ref: ClassVar[bool] = False  # whether it runs for a ref: a fact without its ref never counts then

    @abstractmethod
    def reads(self, key: str) -> bool:
        """Return whether the signal of that key counts for this gate."""

    def own_signals(self, case: Situation) -> Mapping[str, Mapping[str, Signal]]:
        """Return the signals that count for this gate, by key and ref.

        The prefix excludes most of what may be thousands.
        """
        signals = case.record.signals
        return {key: signals[key] for key in signals if key.startswith(self.signal) and self.reads(key)}

    def counts(self, ref: str, case: Situation) -> bool:
        """Return whether a fact that was made for a ref counts; the ref is empty where the provider did not say it."""
        if self.any_branch or not ref:
            return bool(ref) or not self.of_a_ref
        return refs.counts(case.policy, ref)

    def newest(self, by_ref: Mapping[str, Signal], case: Situation) -> Signal | None:
        """Return the newest fact of a signal that was made for a ref that counts."""
        return max((signal for ref, signal in by_ref.items() if self.counts(ref, case)), key=age, default=None)

    def refused_at(self, case: Situation) -> datetime | None:
        """Return when the gate was last revoked, or a failure of one of its signals last accepted."""
        signals = [
            signal
            for by_ref in self.own_signals(case).values()
            for ref, signal in by_ref.items()
            if self.counts(ref, case)
        ]
        failures = [self.failed_at(signal) for signal in signals]
        return max((at for at in (super().refused_at(case), *failures) if at is not None), default=None)

    def failed_at(self, signal: Signal) -> datetime | None:
        """Return when a signal's last failure was accepted, as far as the gate can tell; None: never."""
        return signal.failed


@dataclass(frozen=True, kw_only=True)
class SignalGate(Reader):
    """A gate that passes if the newest fact of every source of its signal passes."""

    def explained(self) -> str:
        """Return what opens the gate, and for how long, in words."""
        text = self._passes()
        if self.of_a_ref:
            text += " on any branch" if self.any_branch else " on a shipped branch or tag, or in its merge queue"
        return lasting(text, self.max_age)

    def state(self, case: Situation) -> GateState:
        """Judge by the gate's signals, and whether a person revoked it since."""
        by_key = self.own_signals(case)
        newest = {key: signal for key, by_ref in by_key.items() if (signal := self.newest(by_ref, case)) is not None}
        signals = self.without_replaced(newest, case.record.runs)
        several = len(signals) > 1
        taken_back = newest_revocation(case.policy, case.record, self.name)
        if taken_back is not None and (not signals or any(signal.at <= taken_back.at for signal in signals.values())):
            lifted_by = f"a later run in each of its {len(signals)} sources" if several else "a later run"
            return revoked(taken_back, lifted_by)
        if not signals:
            return GateState("pending", self._why_pending(case, by_key))
        states = [
            self._state_of(signal, self._source_and_advice(key, case, several), case.now)
            for key, signal in sorted(signals.items())
        ]
        return _worst([*states, *self._later_failures(signals.values(), case.now)])

    def without_replaced(self, signals: Mapping[str, Signal], runs: Mapping[str, Run]) -> Mapping[str, Signal]:
        """Leave out of the newest facts (by key) those that another one replaces; `runs` are GitHub's, by check suite.

        What an older ledger filed without a source is replaced by any newer signal of that name.
        """
        return {key: signal for key, signal in signals.items() if not _is_replaced(key, signal, signals)}

    def origin(self, key: str, runs: Mapping[str, Run]) -> str:
        """Name the source of a signal; empty where the kind and the name say all."""
        return ""

    def verdict(self, signal: Signal, source: str, again: str) -> tuple[str, str]:
        """Return the state that a fact gives, and its reason, without regard to its age.

        `source` names where it is from, and `again` what to do about a failure there; both may be empty.
        """
        outcome = signal.outcome or "no outcome"
        if outcome == "passed":
            return outcome, f"{self.subject} passed"
        if outcome == "failed":
            return outcome, f"{self.subject} failed{source}{again}"
        return "pending", f"{self.subject}{source}: {outcome}, and only a success passes"

    def _passes(self) -> str:
        return f"{self.subject} passed"

    def _later_failures(self, signals: Iterable[Signal], now: datetime) -> Iterator[GateState]:
        """Find failures that arrived after a fact whose time was ahead of the clock.

        Which of the two is newer is unknown.
        """
        for signal in signals:
            if signal.ahead and signal.last is not None:
                last = signal.last
                late = Signal(last.outcome, (), last.at, last.fact, last.evidence, last.data)
                state = self._state_of(late, (", after one whose time was ahead of our clock", ""), now)
                if state.state == "failed":
                    yield state

    def _why_pending(self, case: Situation, by_key: Mapping[str, Mapping[str, Signal]]) -> str:
        heard = sorted({ref for by_ref in by_key.values() for ref in by_ref})
        if not heard:
            return f"nothing heard from {self.subject} yet"
        refs = ", ".join(ref or "an unknown ref" for ref in heard[:3])
        reason = f"{self.subject} was heard for {refs} only, which {case.policy.name} does not ship"
        return f"{reason}; `any-branch: true` on the gate would take it" if self.of_a_ref and any(heard) else reason

    def _source_and_advice(self, key: str, case: Situation, several: bool) -> tuple[str, str]:
        """Name the source of a signal among those of its name, and what to do about a failure there."""
        source, known = self.origin(key, case.record.runs), "#" in key and self.of_a_ref
        name = f" in {source}" if source and (several or known) else ""
        return name, "; run that again" if known else ""

    def _state_of(self, signal: Signal, of: tuple[str, str], now: datetime) -> GateState:
        """Judge by the newest fact of one source, time included."""
        state, reason = self.verdict(signal, *of)
        until = signal.at + self.max_age if self.max_age is not None and state == "passed" else None
        if self.max_age is not None and until is not None and until <= now:
            state, reason = "expired", f"{reason} more than {span(self.max_age)} ago, on {day(signal.at)}; run it again"
        return GateState(state, reason, signal.at, (), signal.evidence, until, (signal.fact,))


def _worst(states: Sequence[GateState]) -> GateState:
    """Return the state of a gate with several sources: it has passed only if each of them has passed."""
    worst = max((state.state for state in states), key=_WORSE.index)
    alike = [state for state in states if state.state == worst]
    last = max(alike, key=lambda state: state.at or _NEVER)
    reason = "; ".join(state.reason for state in alike[:_NAMED])
    more = f"; and {len(alike) - _NAMED} more" if len(alike) > _NAMED else ""
    until = min((state.until for state in states if state.until is not None), default=None)
    facts = tuple(fact for state in states for fact in state.facts)
    return replace(last, reason=reason + more, until=until if worst == "passed" else None, facts=facts)


def _is_replaced(key: str, signal: Signal, signals: Mapping[str, Signal]) -> bool:
    kind, source, name = parts(key)
    if source:
        return False
    return any(
        parts(other)[::2] == (kind, name) and later.at > signal.at for other, later in signals.items() if other != key
    )
