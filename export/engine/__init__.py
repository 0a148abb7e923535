"""Building of TensorRT engines for artifacts."""
