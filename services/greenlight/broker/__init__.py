"""A Knative-compatible broker on one machine: durable, and it imports no ledger and no policy."""
