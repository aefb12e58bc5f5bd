"""Frozen data: the rows of the ledger, and the policy as it was read."""
