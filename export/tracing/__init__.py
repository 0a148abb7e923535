"""Tracing of a network to ATen operators, partial evaluation, and conversion to ONNX."""
