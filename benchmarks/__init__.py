"""Benchmarks of speed against plain references, timed in the same run: `python -m benchmarks`."""
