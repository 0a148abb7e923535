"""Worked examples: run their modules with `python -m` from the root of the repository."""
