"""The drivers, which make deployments."""
