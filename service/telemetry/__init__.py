"""Where the time went and what became of requests: one clock's laps, their summaries, Prometheus' view, traces."""
