"""Triton Inference Server 2.51 for tests: its environment, its process, and a stand-in for its ONNX Runtime backend."""
