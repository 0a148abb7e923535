"""Position tables by their key in a module's state, and the resampling of each kind to another size.

Each kind of table is resampled by its authors' method, whatever the library: absolute embeddings bicubically with
antialiasing (timm), relative tables over a whole image linearly on geometrically spaced offsets (BEiT), tables of
windows bicubically (Swin). An MLP over offsets (Swin v2) is evaluated for the new window instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from models.sources.base import SourceError

Grid = tuple[int, int]

State = Mapping[str, Tensor]
"""Weights by key."""


def resample_embedding(table: Tensor, old: Grid, new: Grid, extra_tokens: int) -> Tensor:
    """Return a learned absolute embedding [1, N, C] for another grid: bicubic with antialiasing, as timm does.

    Args:
        table: rows of extra tokens first; these have no position on the grid and are kept.
        old: (rows, columns) of the table's grid.
        new: (rows, columns) requested.
        extra_tokens: number of rows of extra tokens.
    """
    if old == new:
        return table
    extra, on_grid = table[:, :extra_tokens], table[:, extra_tokens:]
    planes = on_grid.float().reshape(1, *old, -1).permute(0, 3, 1, 2)  # [1, C, rows, columns]
    planes = torch.nn.functional.interpolate(planes, size=new, mode="bicubic", antialias=True)
    return torch.cat([extra, planes.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


def resample_window_table(table: Tensor, old: Grid, new: Grid, _: int = 0) -> Tensor:
    """Resample a table [(2·rows − 1)·(2·columns − 1), H] from window `old` to `new`, bicubic as in Swin's code."""
    planes = table.T.reshape(1, -1, 2 * old[0] - 1, 2 * old[1] - 1)
    size = (2 * new[0] - 1, 2 * new[1] - 1)
    resized = torch.nn.functional.interpolate(planes, size=size, mode="bicubic", align_corners=False)
    return resized.flatten(2)[0].T.contiguous()


def resample_relative_table(table: Tensor, old: Grid, new: Grid, _: int = 0) -> Tensor:
    """Resample a relative table [R, H] to another grid as BEiT's authors do; rows of extra tokens are kept.

    The old offsets are spaced geometrically over the new grid, so near offsets keep their values. Interpolation is
    linear, as in timm (the authors' is cubic).
    """
    offsets = (2 * old[0] - 1) * (2 * old[1] - 1)
    planes = table[:offsets].double().T.reshape(-1, 2 * old[0] - 1, 2 * old[1] - 1)  # [H, dy, dx]
    down, across = (_weights(*sides) for sides in zip(old, new, strict=True))
    resized = (down @ planes @ across.T).flatten(1).T.to(table.dtype)
    return torch.cat([resized, table[offsets:]])


def _weights(old: int, new: int) -> Tensor:
    """Return interpolation weights [2·new − 1, 2·old − 1] from old to new offsets; far offsets take the last value."""
    if old == 1:
        return torch.ones(2 * new - 1, 1, dtype=torch.float64)
    ratio = _ratio(old - 1, new - 1)
    steps = torch.cumsum(ratio ** torch.arange(old - 1, dtype=torch.float64), dim=0)  # 1, 1 + q, 1 + q + q², …
    places = torch.cat([-steps.flip(0), steps.new_zeros(1), steps])
    wanted = torch.arange(1 - new, new, dtype=torch.float64).clamp(places[0], places[-1])
    right = torch.searchsorted(places, wanted).clamp(min=1)
    left = right - 1
    share = (wanted - places[left]) / (places[right] - places[left])
    weights = wanted.new_zeros(len(wanted), len(places))
    weights.scatter_(1, left[:, None], 1 - share[:, None])
    return weights.scatter_(1, right[:, None], share[:, None])


def _ratio(steps: int, reach: int) -> float:
    """Return q with 1 + q + … + q^(steps−1) = reach, between 1.01 and 1.5, as BEiT's authors find it."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        middle = (low + high) / 2
        if (1 - middle**steps) / (1 - middle) > reach:
            high = middle
        else:
            low = middle
    return middle


@dataclass(frozen=True)
class Kind:
    """A kind of position table.

    Attributes:
        name: name of such a table, for messages.
        unit: unit of its sides, for messages.
        method: resampling method, for messages.
        resample: maps (tensor, old grid, new grid, extra tokens) to the tensor for the new grid.
        belongs_to: the size of training, "image size" or "window size", that its shape does not determine, or None.
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
    resample_relative_table,
    belongs_to="image size",
)
OF_WINDOWS = Kind("relative position tables", "windows", "bicubic", resample_window_table)
OVER_OFFSETS = Kind(
    "relative position bias",
    "windows",
    "recomputed from the windows of training",
    lambda weight, *_: weight,
    belongs_to="window size",
)
"""MLP over offsets, which the module evaluates: its weights are kept."""


@dataclass(frozen=True)
class Table:
    """Position table of a module.

    Attributes:
        kind: kind of the table.
        grid: (rows, columns) in tokens, of the image or of a window.
        stage: index of its stage, for windows.
        extra_tokens: number of rows of an embedding before those of the grid.
    """

    kind: Kind
    grid: Grid
    stage: int | None = None
    extra_tokens: int = 0


@dataclass(frozen=True)
class Positions:
    """Position encoding of a module.

    Attributes:
        encoding: its name, as in `models.config`; None if unknown.
        tables: tables that depend on a grid or a window, by key.
    """

    encoding: str | None = None
    tables: Mapping[str, Table] = field(default_factory=dict)


NOTHING_KNOWN = Positions()

_OF_SWIN = {
    "relative_position_bias_table": OF_WINDOWS,
    "cpb_mlp.0.weight": OVER_OFFSETS,
    "continuous_position_bias_mlp.0.weight": OVER_OFFSETS,
}
"""Kinds of a Swin's tables by the ends of their keys in timm, torchvision and transformers."""


def of_swin(network: Any) -> Positions:  # noqa: ANN401 -- one of six classes
    """Return the positions of a Swin of a library; each table belongs to a module that has its window size."""
    tables: dict[str, Table] = {}
    stages: dict[str, int] = {}
    for key, _ in network.named_parameters():
        for end, kind in _OF_SWIN.items():
            if key.endswith(f".{end}"):
                rows, columns = network.get_submodule(key.removesuffix(f".{end}")).window_size
                number = next(part for part in key.split(".") if part.isdigit())
                tables[key] = Table(kind, (rows, columns), stages.setdefault(number, len(stages)))
    over_offsets = any(table.kind is OVER_OFFSETS for table in tables.values())
    return Positions("swin-log-cpb" if over_offsets else "swin-table", tables)


def bring(state: State, old: Positions, new: Positions) -> tuple[dict[str, Tensor], dict[str, str | None]]:
    """Return the weights of a module for another size, and sentences on the changes.

    Args:
        state: weights of the module at the sizes of training.
        old: its positions.
        new: positions of the module at the requested sizes, which has the same keys.

    Returns:
        The weights, and a mapping from the sentence on each change to its `Kind.belongs_to`.

    Raises:
        SourceError: the image is smaller than a patch.
    """
    brought = dict(state)
    stages: dict[tuple[Kind, Grid, Grid], list[int]] = {}
    for key, table in old.tables.items():
        wanted = new.tables[key].grid
        if table.grid != wanted:
            if 0 in wanted:
                raise SourceError("the image is smaller than a patch of the network; choose a larger --image-size")
            brought[key] = table.kind.resample(state[key], table.grid, wanted, table.extra_tokens)
            among = stages.setdefault((table.kind, table.grid, wanted), [])
            if table.stage is not None and table.stage not in among:
                among.append(table.stage)
    return brought, {_sentence(*change, where): change[0].belongs_to for change, where in stages.items()}


def _sentence(kind: Kind, old: Grid, new: Grid, stages: list[int]) -> str:
    of_stages = f" of stage {', '.join(map(str, stages))}" if stages else ""
    return f"{kind.name}{of_stages} from {old[0]}×{old[1]} to {new[0]}×{new[1]} {kind.unit}, {kind.method}"


def joined(**present: bool) -> str:
    """Join the names of the present encodings by +, with dashes for underscores; `none` if there are none."""
    return "+".join(name.replace("_", "-") for name, there in present.items() if there) or "none"
