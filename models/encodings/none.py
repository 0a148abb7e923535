"""No position encoding: the baseline. A ViT without one does not depend on the order of its patches."""

from typing import ClassVar

from models.encodings.base import ActsOn, Encoding, Place


class NoEncoding(Encoding):
    """Encoding without effect."""

    acts_on: ClassVar[ActsOn] = "nothing"

    def __init__(self, place: Place) -> None:  # noqa: ARG002 -- every encoding is built from a place
        super().__init__()
