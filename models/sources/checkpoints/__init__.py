"""Checkpoints: which files they are, what in them are the weights, and how those fit a network."""

from models.sources.checkpoints.contents import Contents
from models.sources.checkpoints.reading import file_of, files_of, read_checkpoint

__all__ = ["Contents", "file_of", "files_of", "read_checkpoint"]
