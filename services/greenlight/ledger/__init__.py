"""The ledger: the port, its rows, and its adapters."""
