"""Network and graph of an artifact: source, operators, rewrites, baked constants."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from artifact.parts.values import Count, Part, Sha256, Text


class Source(Part):
    """Source of the network."""

    name: str = Field(description="What was given to the exporter, without directories: `posbake:learned.json`.")
    weights: Literal["checkpoint", "pretrained", "random"] = Field(description="How the network got its weights.")
    sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the checkpoint file; of a folder or shards, of `sha256sum` of the files.",
    )
    seed: int | None = Field(default=None, description="Seed of random weights.")

    @model_validator(mode="after")
    def _weights_are_traceable(self) -> Self:
        if (self.weights == "checkpoint") != (self.sha256 is not None):
            raise ValueError("sha256 belongs to weights='checkpoint', and only there")
        if (self.weights == "random") != (self.seed is not None):
            raise ValueError("seed belongs to weights='random', and only there")
        return self


class Graph(Part):
    """Facts of the ONNX graph."""

    opset: PositiveInt
    nodes: Count
    ops: dict[str, PositiveInt] = Field(description="nodes by operator")
    constant_only_nodes: Count = Field(description="nodes that could have been computed at export")
    table_gathers: Count = Field(description="Gather nodes that read from a constant")
    operators: dict[str, tuple[Count, Count]] | None = Field(
        default=None,
        description="ATen operators of the network as torch traces it, and how many of each were left when all was "
        "computed that does not depend on the image",
    )
    float32_nodes: dict[str, PositiveInt] | None = Field(
        default=None,
        description="nodes by operator that compute in float32; in fp16 and bf16, because half precision cannot hold "
        "what they read or yield, or the opset does not have the operator in it; in int8, layers that were not "
        "quantized because a limit was missed with them",
    )


class Rewrite(Part):
    """Result of rewriting equal chains of data movement, or the reason why they, or equal nodes, stay as they are."""

    module: Text = Field(description="the module of the original network; * stands for a number; empty: not known")
    before: Text = Field(description="operators, in order")
    after: Text | None = Field(
        default=None,
        description="operators that took their place, one entry for each tensor that is made; absent: none",
    )
    reason: Text | None = Field(default=None, description="why it was declined; absent: it was rewritten")
    count: PositiveInt = Field(description="chains or nodes that are alike")

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        if (self.after is None) == (self.reason is None):
            raise ValueError("a rewrite has either after or reason")
        return self


class Rewrites(Part):
    """Rewrites of data movement, and declined ones; the most frequent first."""

    rewritten: Count = Field(description="chains that were rewritten")
    declined: Count = Field(description="chains and nodes that stay as they are, each with a reason")
    lines: tuple[Rewrite, ...]
    omitted: Count = Field(default=0, description="less frequent lines that are not listed")


class Baked(Part):
    """One baked part of the position encoding."""

    module: str = Field(description="the module of the original network")
    kind: Literal["static", "query-dependent"]
    what: str = Field(description="what was computed at export or, if query-dependent, what is left to compute and why")
    shape: tuple[Count, ...] = Field(description="of the constant the graph holds")
    bytes: Count
