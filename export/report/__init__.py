"""Report of an export: a table on a terminal, and an HTML page beside the graph."""
