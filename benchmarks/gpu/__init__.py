"""Parts of `python -m benchmarks.gpu_check`, each run in its own process."""
