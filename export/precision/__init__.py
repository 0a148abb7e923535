"""A finished float32 graph in another precision (float16, bfloat16, int8), and whether it still says what it should."""

from export.precision.lower import Lowering, prepare_lowering

__all__ = ["Lowering", "prepare_lowering"]
