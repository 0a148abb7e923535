"""What an export tells its user: a short table on a terminal, and one HTML page beside the graph."""
