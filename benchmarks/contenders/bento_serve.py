"""A BentoML service with one worker per core, for `benchmarks.serving`.

Follows the advice of its documentation for CPU-bound work: as many workers as cores. A method that is not a coroutine
runs in a thread of the worker, one by default. With a root input of bytes, the image is the bare body, without a file
or a form. All other settings are BentoML's defaults; it batches only if a method requests it.

    POSBAKE_PLAIN_ARTIFACT=DIR python -m bentoml serve benchmarks.contenders.bento_serve:Classifier --port PORT
"""

import os
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from benchmarks.plain_model import PlainModel
from benchmarks.plain_stages import as_json


@bentoml.service(workers=len(os.sched_getaffinity(0)))
class Classifier:
    """All stages of one request."""

    def __init__(self) -> None:
        self.model = PlainModel(threads=1)

    @bentoml.api  # type: ignore[untyped-decorator]  # mypy runs where BentoML is not
    def classify(self, image: Annotated[bytes, ContentType("image/jpeg")], /) -> dict[str, Any]:
        """The image is the body."""
        return as_json(self.model.classify(image))
