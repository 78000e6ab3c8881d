"""Measurements: each module runs meshd beside a bare reference and prints ratios. `python -m benchmarks.NAME`."""
