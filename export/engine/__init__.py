"""Building of a TensorRT engine for an artifact."""
