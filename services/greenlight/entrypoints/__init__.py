"""Starts of processes: one machine, one service, the broker alone, the demo, the doctor."""
