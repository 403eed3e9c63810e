"""Checkpoints of a run: how they are written, found, proven and read."""
