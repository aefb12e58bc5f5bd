"""Pages for people, JSON for the command line, and the actions of people."""
