"""The parts of `cluster`; the standard library only, so that it runs with any Python from 3.11 on."""
