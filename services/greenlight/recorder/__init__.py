"""A fact is folded into the record of its commit."""
