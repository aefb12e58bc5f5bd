"""Access to Kubernetes API servers."""
