"""int8 products on x86 CPUs without VNNI instructions, which saturate unless a setting prevents it.

Such CPUs multiply bytes with VPMADDUBSW, which adds two products in 16 bits. Sums above 32,767 are cut off, and logits
are wrong without an error. VNNI adds four products in 32 bits. Source: oneDNN, "Nuances of int8 computations". For a
Swin-T, saturation triples the error of int8 (benchmarks/README.md, saturation.py).
"""

import platform
import re
from functools import cache
from pathlib import Path

EXACT_INT8_IN_ONNX_RUNTIME = ("session.x64quantprecision", "1")
"""Session entry for ONNX Runtime: weights become uint8, whose products are added in 32 bits. No effect with VNNI."""

_VNNI = re.compile(r"^flags\b.*\b(avx512_vnni|avx_vnni)\b", re.MULTILINE)
_CPU_INFO = Path("/proc/cpuinfo")


@cache
def int8_saturates() -> bool:
    """Return whether this CPU's int8 products saturate; also True for an x86 CPU with unknown instructions."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    return not (_CPU_INFO.is_file() and _VNNI.search(_CPU_INFO.read_text()))


def exact_int8_in_openvino() -> dict[str, bool]:
    """Return properties for OpenVINO's CPU plugin: products of int8 values in float32 where int8 saturates."""
    return {"LP_TRANSFORMS_MODE": False} if int8_saturates() else {}
