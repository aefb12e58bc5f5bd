"""The command line: a client of the board's JSON API."""
