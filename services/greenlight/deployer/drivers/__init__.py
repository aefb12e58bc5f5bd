"""How a deployment is done."""
