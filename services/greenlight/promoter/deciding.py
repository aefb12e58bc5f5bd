"""Decisions by the policies in force alone, whichever pipeline files the promoter's process has read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from greenlight.ledger.port import Conflict, Transaction
from greenlight.lib.errors import Unavailable
from greenlight.model.policy import Pipeline, PoliciesInForce, Policy
from greenlight.service.deps import Deps


class OtherPolicies(Unavailable):
    """Report that another process has read other pipeline files. Trying again helps once both have read the same."""


@dataclass(frozen=True)
class Deciding(Deps):
    """The pipeline at the beginning of a handler, and the policies in force, by which it decides."""

    in_force: PoliciesInForce | None = None

    @classmethod
    def about(cls, repo: str, deps: Deps) -> Deciding:
        """Begin to decide commits of a repository. Raises OtherPolicies."""
        return cls._under(deps.pipeline(), repo, deps)

    @classmethod
    def of(cls, application: str, repo: str, deps: Deps) -> tuple[Deciding, Policy | None]:
        """Begin to decide for an application; return it as it is called now.

        `repo` is the repository that it had, which counts where it is in no pipeline file. Raises OtherPolicies.
        """
        pipeline = deps.pipeline()
        policy = pipeline.now_called(application)
        return cls._under(pipeline, repo if policy is None else policy.repo, deps), policy

    @classmethod
    def _under(cls, pipeline: Pipeline, repo: str, deps: Deps) -> Deciding:
        digest = pipeline.digest_of(repo)
        found = deps.ledger.policies_in_force(repo) or PoliciesInForce(repo, digest)
        if found.digest != digest:
            raise _other(repo)
        return cls(deps.clock, deps.ledger, lambda: pipeline, deps.publisher, deps.log, deps.tracer, in_force=found)

    def transact(self, transaction: Transaction) -> None:
        """Write a transaction if the same policies are still in force.

        Raises Conflict, and OtherPolicies if they are not.
        """
        assert self.in_force is not None
        try:
            self.ledger.transact(replace(transaction, unchanged=[*transaction.unchanged, self.in_force]))
        except Conflict:
            found = self.ledger.policies_in_force(self.in_force.repo)
            if (found.version if found else 0) != self.in_force.version:
                raise _other(self.in_force.repo) from None
            raise


def _other(repo: str) -> OtherPolicies:
    return OtherPolicies(
        f"the pipeline files were edited, and this process has not read what they say about {repo} now; the delivery will"
        " be tried again. Where this goes on, a service has other pipeline files than the one that was started last"
    )
