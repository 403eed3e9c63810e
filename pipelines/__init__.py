"""Curate and build: plan, stages, runner, readers and writers."""
