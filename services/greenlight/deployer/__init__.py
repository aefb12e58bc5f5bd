"""promotion.ready becomes a deployment that a driver carries out."""
