"""The reconciler: emits again what is due and lacks a result."""
