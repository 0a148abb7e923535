"""Errors of TensorRT engines. Each message names the cause and the remedy.

EngineError
├── LibraryMissingError         TensorRT or the CUDA runtime is not installed, or too old
├── ParserRefusalError          TensorRT's parser rejects the graph
├── BuildError                  no engine could be built
├── UnfitEngineError            an engine for another library, version or GPU
└── CudaError                   a call of the CUDA runtime failed
    └── OutOfDeviceMemoryError
"""

from dataclasses import dataclass


class EngineError(Exception):
    """An engine cannot be built or run."""


class LibraryMissingError(EngineError):
    """A library is missing or too old."""


@dataclass(frozen=True)
class Refusal:
    """Reason why the parser rejected a graph.

    Attributes:
        node: name of the node; empty for the whole graph.
        operator: operator of the node.
        reason: message of the parser.
    """

    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        """Return node, operator and reason in one line."""
        where = " ".join(part for part in (self.operator, self.node) if part)
        return f"{where}: {self.reason}" if where else self.reason


class ParserRefusalError(EngineError):
    """The parser rejects the graph.

    Attributes:
        refusals: reasons, at least one.
    """

    def __init__(self, library: str, refusals: tuple[Refusal, ...]) -> None:
        super().__init__(f"the parser of {library} rejects the graph: {'; '.join(map(str, refusals))}")
        self.refusals = refusals


class BuildError(EngineError):
    """The build of an engine failed."""


class UnfitEngineError(EngineError):
    """The engine does not fit this host."""


class CudaError(EngineError):
    """The CUDA runtime reported an error."""


class OutOfDeviceMemoryError(CudaError):
    """The GPU is out of memory."""
