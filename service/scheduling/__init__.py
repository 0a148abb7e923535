"""From requests to batches: bounded waiting rooms, a fair turn for every variant, deadlines, outages, restarts."""
