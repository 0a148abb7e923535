"""A Ray Serve deployment with one replica per core, for `benchmarks.serving`.

As Ray's documentation recommends for CPU-bound work, each replica has one core and works in a thread, so that its
event loop is not blocked. All other settings are Ray's defaults: five concurrent requests per replica, no batching,
a dashboard.

    POSBAKE_PLAIN_ARTIFACT=DIR python -m benchmarks.contenders.ray_serve PORT
"""

import asyncio
import os
import secrets
import sys

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.plain_model import PlainModel
from benchmarks.plain_stages import as_json


@serve.deployment(num_replicas=len(os.sched_getaffinity(0)), ray_actor_options={"num_cpus": 1})
class Classifier:
    """A classifier; a replica runs all stages of a request."""

    def __init__(self) -> None:
        self.model = PlainModel(threads=1)

    async def __call__(self, request: Request) -> dict[str, list[dict[str, str | float]]]:
        """Classify the image in the request body."""
        return as_json(await asyncio.to_thread(self.model.classify, await request.body()))


if __name__ == "__main__":
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # otherwise Ray writes one to the home folder
    ray.init(address="local")  # never connect to a running cluster
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Classifier.bind(), blocking=True)  # type: ignore[attr-defined]
