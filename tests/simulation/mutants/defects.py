"""The deliberate defects. Each is one that somebody could make; most are about order and time, which stories are for."""

from __future__ import annotations

from .edits import Defect

DEFECTS = [
    # One change at a time, by whoever holds the target.
    Defect("fence ignored", "holds", "and deployment.fence == held.fence", ""),
    Defect("fence not raised when a target is taken over", "hold", "target.fence + taken_over", "target.fence"),
    Defect("another holder's lease ignored", "hold", "lease.until > now", "False"),
    Defect("begun under the fence before", "begin", "fence=target.fence + 1", "fence=target.fence"),
    Defect("intent not decided again", "_begin", "or not may_begin(case, decision)", ""),
    Defect("decided on rows that have changed", "_transaction", "[record, *read] if rows or targets else []", "[]"),
    Defect("an error ends at the first try", "_conclude", "deployment.tries < environment.tries", "False"),
    Defect(
        "a late word ends a later try",
        "_conclude",
        "if not domain.holds(held, deployment, target, deps.owner)",
        "if False",
    ),
    Defect("end not journaled", "end", "entries=[entry(type, ended, now)]", "entries=[]"),
    Defect(
        "what follows from an end is not due",
        "end",
        "due=[Due(keys.deployment_due(deployment.id), now + PATIENCE, event)]",
        "due=[]",
    ),
    Defect("what is due is never sent again", "on_ping", "while due:", "while False:"),
    Defect("a canceled deployment is a failed one", "canceled", "cancel is None or", "True or"),
    # Which commit goes out.
    Defect(
        "the commit at hand before newer ones",
        "newer_is_ready",
        "in _ready_since(case.policy, case.environment.name, push, deps):",
        "in ():",
    ),
    Defect("older over newer", "newest_by_push", "or not newer(last, push, case.pushes)", "or True"),
    Defect(
        "what was tried and failed does not count",
        "begin",
        "newest=_newest(target.newest, push, case.pushes)",
        "newest=target.newest",
    ),
    Defect("a deletion undoes nothing", "_is_reset", "push.deleted or push.forced", "push.forced"),
    Defect("a forced push undoes nothing", "_is_reset", "push.deleted or push.forced", "push.deleted"),
    Defect("links within a ref ignored", "Lineage.place", "below is not None and below[:3] >= own", "False"),
    Defect(
        "arrival decides which is newer",
        "Push.placed",
        "own = (self.heard, self.arrived)",
        "own = (self.arrived, self.arrived)",
    ),
    Defect(
        "an edited policy decides one commit at a time",
        "_decided_under",
        "if target.policy == policy.digest:",
        "if True:",
    ),
    Defect(
        "decisions under a pipeline file that is no longer in force are written",
        "Deciding.transact",
        "unchanged=[*transaction.unchanged, self.in_force]",
        "unchanged=transaction.unchanged",
        "tests/simulation/test_sequences.py",
    ),
    Defect(
        "a pipeline file that is not in force decides",
        "Deciding.about",
        "if found.digest != digest:",
        "if False:",
        "tests/simulation/test_sequences.py",
    ),
    Defect("a stage is skipped", "_after", 'elif attempt.outcome != "succeeded":', "elif False:"),
    Defect(
        "what was rolled back from passes a stage", "_after", "elif attempt.rolled_back is not None:", "elif False:"
    ),
    # What people ask for.
    Defect("pause ignored", "not_paused", "case.target.paused is None or", "True or"),
    Defect("soak time ignored", "_soaking", "attempt.succeeded_at + length > case.now", "False"),
    Defect("freeze window ignored", "not_frozen", "shut is None", "True"),
    Defect("manual promotion ignored", "not_manual", 'case.environment.promote != "manual"', "True"),
    Defect("hold ignored", "not_held", "held is None or", "True or"),
    Defect("candidates go before a request", "no_request_first", "first is None or", "True or"),
    Defect("request served twice", "begun", "other.at <= request.at", "other.at < request.at"),
    Defect("request outlives a newer commit", "begun", "pushed_after(push, other.at, pushes)", "False"),
    Defect("request cancelled and served", "cancel_request", "without(target, [request])", "target"),
    Defect("request never expires", "expired", "return request.until <=", "return False and request.until <="),
    Defect("time paused counts as waited", "resumed", "max(now - max(since, it.at), timedelta(0))", "timedelta(0)"),
    Defect("the policy's rollback goes through a pause", "goes_through_a_pause", "and request.person != POLICY", ""),
    Defect(
        "a rollback leads to what runs",
        "_way_back",
        "for sha in target.history if sha != left",
        "for sha in target.history",
    ),
    Defect("back to what was rolled back from", "_was_left", "and attempt.rolled_back is not None", "and False"),
    Defect(
        "a renamed application loses its requests",
        "carried_on",
        "wanted=None, policy=None",
        "wanted=None, policy=None, requests=()",
    ),
    # Gates.
    Defect("revocation ignored", "_revocations", "if approval is None or approval.granted:", "if True:"),
    Defect("author may approve", "Authors.among", "return not self.people.isdisjoint(identities)", "return False"),
    Defect("an approval lasts for ever", "VotesGate.tally", "if lasts is None or vote[0] + lasts > now", "if True"),
    Defect("a scan lasts for ever", "SignalGate._word", "and until <= now", "and False"),
    Defect("a build of any branch counts", "Reader.counts", "return refs.counts(case.policy, ref)", "return True"),
    Defect("the first verdict stands", "age", "_sortable(signal.order)", "0"),
    Defect(
        "a cancelled build passes",
        "SignalGate.verdict",
        'if outcome == "passed":',
        'if outcome in ("passed", "canceled"):',
    ),
    Defect(
        "an author may override",
        "may_override",
        "return authors(case.record, case.target, case.pushes).left_out(person.id, person.identities)",
        "return None",
    ),
    # What follows from a fact in one transaction.
    Defect(
        "half a chain is stored where a handler fails",
        "Chain._collect",
        "if handled is None: overlay = Overlay(batch) write.result = write.apply(overlay)",
        "if handled is None: pass",
        caught_by="tests/unit/service/test_chain.py::test_where_a_handler_fails_the_write_alone_is_stored",
    ),
    Defect(
        "an edit beside a chain is not noticed",
        "Changes.add",
        "self.unchanged.setdefault(key, read.version)",
        "pass",
        caught_by="tests/unit/ledger/test_overlay.py::test_what_another_wrote_meanwhile_is_a_conflict_and_nothing_is_stored",
    ),
    Defect(
        "what was due before a chain stays due",
        "Changes._no_longer_due",
        "self.due[key] = None",
        "del self.due[key]",
        caught_by="tests/unit/ledger/test_overlay.py::test_what_is_no_longer_due_in_a_chain_leaves_nothing_of_what_was_due_before",
    ),
    Defect(
        "a chain does not see its own push",
        "Overlay.pushes",
        "if not mine:",
        "if True:",
        caught_by="tests/unit/ledger/test_overlay.py::test_writes_through_overlays_are_the_writes_one_by_one",
    ),
    Defect(
        "what a chain has handled is delivered as well",
        "page",
        "instr(handled, ?) = 0",
        "instr(handled, ?) >= 0",
        caught_by="tests/flow/test_chain.py::test_what_was_handled_is_not_delivered_from_the_log_either",
    ),
]
