"""Measurements: scripts that print a table; results with date and machine stand in benchmarks/README.md."""
