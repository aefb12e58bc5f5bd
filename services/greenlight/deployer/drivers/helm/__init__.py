"""Deployments by Helm."""
