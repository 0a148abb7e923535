"""Triton Inference Server 2.51 for tests: environment, process, and a replacement for its ONNX Runtime backend."""
