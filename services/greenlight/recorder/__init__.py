"""The recorder: folds a fact into the record of its commit."""
