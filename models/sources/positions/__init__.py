"""Position encodings inside the modules of other libraries: their names, their tables, and tables for other sizes."""

from models.sources.positions.base import NOTHING_KNOWN, Change, Kind, Positions, Table, bring
from models.sources.positions.in_timm import in_timm
from models.sources.positions.in_torchvision import in_torchvision
from models.sources.positions.in_transformers import in_transformers

__all__ = [
    "NOTHING_KNOWN",
    "Change",
    "Kind",
    "Positions",
    "Table",
    "bring",
    "in_timm",
    "in_torchvision",
    "in_transformers",
]
