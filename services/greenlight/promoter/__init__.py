"""The promoter: a changed record becomes a decision for each target, and promotion.ready when every gate is green."""
