"""A finished float32 graph in another precision (float16, bfloat16, int8), and whether it still says what it should."""

from export.precision.lower import Lowering, Precision, prepare_lowering

__all__ = ["Lowering", "Precision", "prepare_lowering"]
