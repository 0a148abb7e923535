"""The lines of the bake report: what became of each piece of position work."""

from collections.abc import Iterable

from torch import Tensor, nn

from artifact import Baked
from export.passes import Cut
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
        shape=tuple(encoding.get_parameter(_first_parameter(encoding)).shape),
        bytes=sum(map(_bytes, constants)),
    )


def as_stored(form: nn.Module, lines: Iterable[Baked], cuts: Iterable[Cut]) -> tuple[Baked, ...]:
    """Return the lines of an inference form's report with the shapes and bytes of what its graph holds.

    A class token's classifier needs one row of the last block's bias, and so the graph holds that row alone.
    """
    return tuple(_without_what_was_cut(form, line, list(cuts)) for line in lines)


def _without_what_was_cut(form: nn.Module, line: Baked, cuts: list[Cut]) -> Baked:
    if line.kind == "static":
        name = f"{line.module.removesuffix('.encoding')}.bias"
        cuts = [cut for cut in cuts if cut.name == name]
    else:
        cuts = [cut for cut in cuts if f"{cut.module}.".startswith(f"{line.module}.")]
        name = f"{line.module}.{_first_parameter(form.get_submodule(line.module))}" if cuts else ""
    shape = next((cut.left for cut in cuts if cut.name == name), line.shape)
    return line.model_copy(update={"shape": shape, "bytes": line.bytes - sum(cut.spared for cut in cuts)})


def _first_parameter(module: nn.Module) -> str:
    return next(name for name, _ in module.named_parameters())


def _static(module: str, what: str, constant: Tensor) -> Baked:
    return Baked(module=module, kind="static", what=what, shape=tuple(constant.shape), bytes=_bytes(constant))


def _bytes(constant: Tensor) -> int:
    """Return what a constant takes in the graph, where numbers are float32 and indices int64."""
    return constant.numel() * (FLOAT32_BYTES if constant.is_floating_point() else INT64_BYTES)
