"""The lines of the bake report: what became of each piece of position work."""

from torch import Tensor

from artifact import Baked
from models.encodings import Encoding, Rotation

Report = list[Baked]

FLOAT32_BYTES = 4
INT64_BYTES = 8


def report_embedding(module: str, embedding: Tensor) -> Baked:
    """Return the line for an embedding [L, C]."""
    return _static(module, "embedding, added to the tokens once", embedding)


def report_order(module: str, index: Tensor) -> Baked:
    """Return the line for a constant order [L] of tokens."""
    return _static(module, "window partition, shift and reverse, as one constant order of tokens", index)


def report_scores(module: str, scores: Tensor, windows: int, *, has_bias: bool, has_mask: bool) -> Baked:
    """Return the line for what is added to the scores, [1, W·H, N, N]."""
    what = " and ".join(part for part, there in (("bias", has_bias), ("shift mask", has_mask)) if there)
    of_windows = "one window" if windows == 1 else f"{windows} windows"
    return _static(module, f"{what} of {of_windows}, added to the scores", scores)


def report_rotation(module: str, rotation: Rotation) -> Baked:
    """Return the line for a rotary encoding: the shape of its cosines, [1 or W·H, N, d], and bytes with its sines."""
    return Baked(
        module=module,
        kind="static",
        what="cosines and sines that turn queries and keys",
        shape=tuple(rotation.cos.shape),
        bytes=_bytes(rotation.cos) + _bytes(rotation.sin),
    )


def report_query_dependent(module: str, encoding: Encoding, parts: list[str]) -> Baked:
    """Return the line for an encoding of which `parts`, scores or values, are left to compute for each image."""
    constants: list[Tensor] = [*encoding.parameters(), *encoding.buffers()]
    reason = {
        "scores": "scores are products of the image's queries or keys with its tables",
        "values": "values are sums of its tables, weighted by the image's attention",
    }
    return Baked(
        module=module,
        kind="query-dependent",
        what="; ".join(reason[part] for part in parts),
        shape=tuple(next(encoding.parameters()).shape),
        bytes=sum(map(_bytes, constants)),
    )


def _static(module: str, what: str, constant: Tensor) -> Baked:
    return Baked(module=module, kind="static", what=what, shape=tuple(constant.shape), bytes=_bytes(constant))


def _bytes(constant: Tensor) -> int:
    """Return what a constant takes in the graph, where numbers are float32 and indices int64."""
    return constant.numel() * (FLOAT32_BYTES if constant.is_floating_point() else INT64_BYTES)
