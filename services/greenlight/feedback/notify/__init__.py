"""Notifications: messages to people and programs about what needs a person, or has ended."""
