"""A model repository for NVIDIA Triton Inference Server from a repository of artifacts.

The name is not `triton`: `python export/to_onnx.py` puts this folder's parent first on the path, and torch imports a
package of that name.
"""
