"""Network and graph of an artifact: source, operators, rewrites, baked constants."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from artifact.parts.values import Count, Part, Sha256, Text


class Source(Part):
    """Source of the network."""

    name: str = Field(description="source as given to the exporter, without directories: `posbake:learned.json`")
    weights: Literal["checkpoint", "pretrained", "random"] = Field(description="origin of the weights")
    sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the checkpoint file; for a folder or shards, of the output of `sha256sum`",
    )
    seed: int | None = Field(default=None, description="seed of random weights")

    @model_validator(mode="after")
    def _weights_are_traceable(self) -> Self:
        if (self.weights == "checkpoint") != (self.sha256 is not None):
            raise ValueError("sha256 is required with weights='checkpoint', and allowed only there")
        if (self.weights == "random") != (self.seed is not None):
            raise ValueError("seed is required with weights='random', and allowed only there")
        return self


class Graph(Part):
    """Facts of the ONNX graph."""

    opset: PositiveInt
    nodes: Count
    ops: dict[str, PositiveInt] = Field(description="nodes by operator")
    constant_only_nodes: Count = Field(description="nodes with constant inputs only, which could be folded")
    table_gathers: Count = Field(description="Gather nodes that read from a constant")
    operators: dict[str, tuple[Count, Count]] | None = Field(
        default=None,
        description="ATen operators of the traced network, with their number before and after partial evaluation",
    )
    float32_nodes: dict[str, PositiveInt] | None = Field(
        default=None,
        description="nodes by operator that compute in float32; in fp16 and bf16, because inputs or outputs exceed "
        "half precision, or the opset lacks the operator in it; in int8, layers left unquantized because the limits "
        "were missed with them",
    )


class Rewrite(Part):
    """Rewrite of equal chains of data movement, or the reason why equal chains or nodes were not rewritten."""

    module: Text = Field(description="module of the original network, with * for a number; empty if unknown")
    before: Text = Field(description="operators before the rewrite, in order")
    after: Text | None = Field(
        default=None,
        description="operators after the rewrite, one entry for each output tensor; absent if not rewritten",
    )
    reason: Text | None = Field(default=None, description="reason for declining; absent if rewritten")
    count: PositiveInt = Field(description="number of equal chains or nodes")

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        if (self.after is None) == (self.reason is None):
            raise ValueError("a rewrite has either after or reason")
        return self


class Rewrites(Part):
    """Applied and declined rewrites of data movement, the most frequent first."""

    rewritten: Count = Field(description="number of rewritten chains")
    declined: Count = Field(description="number of chains and nodes that were not rewritten, each with a reason")
    lines: tuple[Rewrite, ...]
    omitted: Count = Field(default=0, description="number of less frequent lines that are not listed")


class Baked(Part):
    """Baked part of the position encoding."""

    module: str = Field(description="module of the original network")
    kind: Literal["static", "query-dependent"]
    what: str = Field(
        description="result computed at export; if query-dependent, the remaining computation and its reason"
    )
    shape: tuple[Count, ...] = Field(description="shape of the constant in the graph")
    bytes: Count
