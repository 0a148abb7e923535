"""Position encodings of networks: their names, their tables, and tables for other sizes."""

from models.sources.positions.base import NOTHING_KNOWN, Positions, State, bring
from models.sources.positions.in_textbook import in_textbook
from models.sources.positions.in_timm import in_timm
from models.sources.positions.in_torchvision import in_torchvision
from models.sources.positions.in_transformers import in_transformers

__all__ = [
    "NOTHING_KNOWN",
    "Positions",
    "State",
    "bring",
    "in_textbook",
    "in_timm",
    "in_torchvision",
    "in_transformers",
]
