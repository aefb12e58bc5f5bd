"""Checks before anything depends on it: this machine, a cluster, the targets."""
