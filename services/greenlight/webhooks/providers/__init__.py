"""The providers of webhooks, one file each; registry.py finds them."""
