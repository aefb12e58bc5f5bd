"""A provider's webhook becomes a fact."""
