"""Versions that are served: loading from the repository, look-up by name, selection by latency."""
