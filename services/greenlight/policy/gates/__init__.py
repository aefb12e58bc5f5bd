"""The kinds of gates, one file each; registry.py finds them."""
