"""Which networks of other libraries are re-hosted in ours: families for each library, asked in order.

A new family is a file that has a function for each library, and a line for each here.
"""

from models.sources.families import beit, eva, relpos, swin, vit
from models.sources.families.base import Family, Rehosted, Resizer, State, keep_keys
from models.sources.families.swin_sizes import SwinResizer
from models.sources.families.vit_sizes import ViTResizer

TIMM: tuple[Family, ...] = (swin.from_timm, vit.from_timm, beit.from_timm, relpos.from_timm, eva.from_timm)
TORCHVISION: tuple[Family, ...] = (swin.from_torchvision, vit.from_torchvision)
TRANSFORMERS: tuple[Family, ...] = (swin.from_transformers, vit.from_transformers, beit.from_transformers)

RESIZERS: dict[str, Resizer] = {"swin": SwinResizer(), "vit": ViTResizer()}
"""By the architecture of our configuration; one without a line cannot be brought to another size."""

__all__ = ["RESIZERS", "TIMM", "TORCHVISION", "TRANSFORMERS", "Family", "Rehosted", "Resizer", "State", "keep_keys"]
