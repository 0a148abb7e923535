"""Trace: a network as a program of ATen operators, evaluated as far as it needs no image, and as an ONNX graph."""
