"""What starts a process: one machine, one service, the broker alone, the demo, the doctor."""
