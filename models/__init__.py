"""Vision transformers with position-dependent attention, as textbook code.

B images, N tokens, C width, H heads, d = C / H head width. This package does not depend on export.
"""

from models.build import build_network
from models.config import NetworkConfig, SwinConfig, ViTConfig
from models.swin import Swin
from models.vit import ViT

__all__ = ["NetworkConfig", "Swin", "SwinConfig", "ViT", "ViTConfig", "build_network"]
