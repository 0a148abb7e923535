"""Position tables by their key in a module's state, and how each kind is brought to another size.

Tables of every library are resampled by one method for each kind, that of the tables' authors: absolute embeddings
bicubically with antialiasing (timm), relative tables over a whole image linearly on geometrically spaced offsets
(BEiT), tables of windows bicubically (Swin). A network over offsets (Swin v2) is evaluated for the new window instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from models.sources.resampling import Grid, resample_embedding, resample_relative_table, resample_window_table

State = Mapping[str, Tensor]
"""Weights by key."""


@dataclass(frozen=True)
class Kind:
    """A kind of position table.

    Attributes:
        name: of such a table, in messages.
        unit: what its sides count, likewise.
        method: how it is resampled, likewise.
        resample: returns (tensor, old grid, new grid, extra tokens) for the new grid.
        belongs_to: the size of training, "image size" or "window size", that its shape does not show; None if it does.
    """

    name: str
    unit: str
    method: str
    resample: Callable[[Tensor, Grid, Grid, int], Tensor]
    belongs_to: str | None = None


EMBEDDING = Kind(
    "position embedding", "tokens", "bicubic with antialiasing", resample_embedding, belongs_to="image size"
)
OF_IMAGE = Kind(
    "relative position tables",
    "tokens",
    "linear on geometrically spaced offsets",
    lambda table, old, new, _: resample_relative_table(table, old, new),
    belongs_to="image size",
)
OF_WINDOWS = Kind(
    "relative position tables", "windows", "bicubic", lambda table, old, new, _: resample_window_table(table, old, new)
)
OVER_OFFSETS = Kind(
    "relative position bias",
    "windows",
    "recomputed from the windows of training",
    lambda weight, *_: weight,
    belongs_to="window size",
)
"""A network over offsets, which the module evaluates: its weights stay as they are."""


@dataclass(frozen=True)
class Table:
    """One position table of a module.

    Attributes:
        kind: what it is.
        grid: (rows, columns) in tokens, of the image or of a window.
        stage: that it is in, for windows.
        extra_tokens: rows of an embedding that stand before those of the grid.
    """

    kind: Kind
    grid: Grid
    stage: int | None = None
    extra_tokens: int = 0


@dataclass(frozen=True)
class Positions:
    """The position encoding of a module.

    Attributes:
        encoding: its name, as `models.config` writes it; None if it is not known.
        tables: what belongs to a grid or to a window, by key.
    """

    encoding: str | None = None
    tables: Mapping[str, Table] = field(default_factory=dict)


NOTHING_KNOWN = Positions()


@dataclass(frozen=True)
class Change:
    """What became of the tables of one kind and size.

    Attributes:
        sentence: for the user.
        belongs_to: see `Kind`.
    """

    sentence: str
    belongs_to: str | None


def bring(state: State, old: Positions, new: Positions) -> tuple[dict[str, Tensor], tuple[Change, ...]]:
    """Return the weights of a module for the same one at another size, and each change.

    Args:
        state: of the module at the sizes of training.
        old: its positions.
        new: those of the module at the sizes wanted, which has the same keys.
    """
    brought = dict(state)
    stages: dict[tuple[Kind, Grid, Grid], list[int]] = {}
    for key, table in old.tables.items():
        wanted = new.tables[key].grid
        if table.grid != wanted:
            brought[key] = table.kind.resample(state[key], table.grid, wanted, table.extra_tokens)
            among = stages.setdefault((table.kind, table.grid, wanted), [])
            if table.stage is not None and table.stage not in among:
                among.append(table.stage)
    return brought, tuple(Change(_sentence(*change, where), change[0].belongs_to) for change, where in stages.items())


def _sentence(kind: Kind, old: Grid, new: Grid, stages: list[int]) -> str:
    of_stages = f" of stage {', '.join(map(str, stages))}" if stages else ""
    return f"{kind.name}{of_stages} from {old[0]}×{old[1]} to {new[0]}×{new[1]} {kind.unit}, {kind.method}"


def joined(**present: bool) -> str:
    """Return the names of the encodings that are there in one word, underscores for dashes; `none` if none is."""
    return "+".join(name.replace("_", "-") for name, there in present.items() if there) or "none"
