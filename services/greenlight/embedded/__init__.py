"""The whole pipeline in one process on one machine."""
