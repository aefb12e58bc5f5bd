"""One SQLite file with one writer and group commit: what ledger and broker stand on."""
