"""A BentoML service with one worker per core, for `benchmarks.serving`.

As many workers as cores, as BentoML's documentation recommends for CPU-bound work. A synchronous method runs in a
thread of the worker, one by default. With a root input of bytes, the request body is the image itself. All other
settings are BentoML's defaults, which do not batch.

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
    """A classifier; a worker runs all stages of a request."""

    def __init__(self) -> None:
        self.model = PlainModel(threads=1)

    @bentoml.api  # type: ignore[untyped-decorator]  # mypy runs where BentoML is not
    def classify(self, image: Annotated[bytes, ContentType("image/jpeg")], /) -> dict[str, Any]:
        """Classify the image in the request body."""
        return as_json(self.model.classify(image))
