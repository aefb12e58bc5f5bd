"""The ledger on one machine: one SQLite file."""
