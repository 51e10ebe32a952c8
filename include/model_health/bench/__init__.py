"""Measures what watching a model costs, and writes BENCHMARKS.md: `python -m model_health.bench`."""
