"""Measurements beside peers and bare references: `python -m benchmarks.tasks`, `python -m benchmarks.heartbeats`."""
