"""From an artifact with a portable graph to one with a TensorRT engine beside it."""
