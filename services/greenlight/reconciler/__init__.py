"""What is due and lacks a result is emitted again."""
