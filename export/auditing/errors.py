"""What keeps a model from being audited."""

from export.errors import ExportError


class UnreadableModelError(ExportError):
    """The file, or the data that it keeps beside itself, cannot be read; the message names the cause and the remedy."""
