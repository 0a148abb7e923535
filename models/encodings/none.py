"""No position encoding: the baseline. Without one, a ViT sees a bag of patches."""

from typing import ClassVar

from models.encodings.base import ActsOn, Encoding, Place


class NoEncoding(Encoding):
    """Adds nothing anywhere."""

    acts_on: ClassVar[ActsOn] = "nothing"

    def __init__(self, place: Place) -> None:  # noqa: ARG002 -- every encoding is made from a place
        super().__init__()
