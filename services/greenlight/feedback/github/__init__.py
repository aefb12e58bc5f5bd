"""GitHub's API, as far as feedback uses it."""
