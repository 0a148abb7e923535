"""Report of an export: a short table on a terminal, and one HTML page beside the graph."""
