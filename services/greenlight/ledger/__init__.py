"""What is known: the port, its rows, and its adapters."""
