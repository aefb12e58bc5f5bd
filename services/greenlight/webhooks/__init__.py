"""The edge to providers: a webhook becomes a fact."""
