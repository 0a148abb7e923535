"""Checkpoints: file formats, the weights in a file, and the fit of weights to a network."""

from models.sources.checkpoints.contents import Contents
from models.sources.checkpoints.reading import file_of, files_of, read_checkpoint

__all__ = ["Contents", "file_of", "files_of", "read_checkpoint"]
