"""Where the time went: laps of one clock, their summaries, and Prometheus' view of them."""
