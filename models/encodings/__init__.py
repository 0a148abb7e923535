"""Position encodings, each in its own file, behind one protocol and one registry."""

from models.encodings.base import ActsOn, Encoding, Place, Rotation
from models.encodings.registry import ENCODINGS, build_encoding

__all__ = ["ENCODINGS", "ActsOn", "Encoding", "Place", "Rotation", "build_encoding"]
