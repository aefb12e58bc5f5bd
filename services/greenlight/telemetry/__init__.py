"""Spans, their export, and metrics."""
