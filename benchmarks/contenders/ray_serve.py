"""A Ray Serve deployment with one replica per core, for `benchmarks.serving`.

Follows the advice of its documentation for CPU-bound work: several replicas, each with a core, and the work in a
thread, so that the replica's event loop is not blocked. All other settings are Ray's defaults: five requests at a time
in a replica, no batches, a dashboard.

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
    """All stages of one request."""

    def __init__(self) -> None:
        self.model = PlainModel(threads=1)

    async def __call__(self, request: Request) -> dict[str, list[dict[str, str | float]]]:
        """The image is the body."""
        return as_json(await asyncio.to_thread(self.model.classify, await request.body()))


if __name__ == "__main__":
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # else Ray makes one and leaves it in the home folder
    ray.init(address="local")  # never a cluster that already runs here
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Classifier.bind(), blocking=True)  # type: ignore[attr-defined]  # the decorator makes a deployment of it
