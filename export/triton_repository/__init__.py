"""Model repositories for NVIDIA Triton Inference Server, written from a repository of artifacts.

The package is not named `triton`, because `python export/to_onnx.py` puts its parent folder first on the path, and
torch imports a package `triton`.
"""
