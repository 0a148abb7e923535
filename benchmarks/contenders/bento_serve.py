"""A BentoML service with one worker per core, for `benchmarks.serving`.

As its documentation advises for work of the CPU: as many workers as cores. A method that is no coroutine runs in a
thread of the worker, one by default. A root input of bytes makes the image the bare body, without a file or a form.
What is not said here is as BentoML comes; it batches only where a method asks for it.

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
