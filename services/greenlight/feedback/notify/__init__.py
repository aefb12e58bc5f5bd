"""Notifications: messages to people and programs about what needs somebody, or has ended."""
