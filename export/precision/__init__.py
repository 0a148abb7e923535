"""Conversion of the float32 graph to float16, bfloat16 or int8, and the check of its accuracy."""

from export.precision.lower import Lowering, prepare_lowering

__all__ = ["Lowering", "prepare_lowering"]
