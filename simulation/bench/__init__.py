"""Measurements of time and memory, for `docs/benchmarks.md`."""
