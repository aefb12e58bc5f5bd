"""A simulator of everything around Greenlight; see docs/reliability.md."""
