"""The pipeline file, and the pure decision."""
