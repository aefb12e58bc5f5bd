"""Feedback: reports of commits where their people look."""
