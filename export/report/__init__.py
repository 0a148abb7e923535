"""Report of an export: a table on the terminal, and an HTML page in the artifact."""
