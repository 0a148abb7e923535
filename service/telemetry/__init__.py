"""Stage times, latency summaries, statistics, Prometheus metrics and traces of requests."""
