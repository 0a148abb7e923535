"""Scheduling: bounded queues, round-robin over variants, batches, deadlines, worker threads, restarts."""
