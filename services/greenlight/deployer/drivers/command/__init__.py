"""Deployments by a command."""
