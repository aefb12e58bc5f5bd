"""Proof that a rollout is complete, by the cluster's objects."""
