"""Resources and limits of this process: cores, memory, threads with time limits, exit."""
