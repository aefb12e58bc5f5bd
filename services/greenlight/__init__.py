"""Greenlight ships a commit the moment every gate is green."""
