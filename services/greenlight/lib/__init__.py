"""Small things without a word of the domain: clock, documents, files, processes, signing."""
