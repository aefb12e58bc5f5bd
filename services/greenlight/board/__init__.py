"""Pages for people, JSON for the command line, and what people do."""
