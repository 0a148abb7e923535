"""`python -m benchmarks.routes`: CPU time of a request through `DirectRoutes` and through FastAPI's routing.

Three apps run in this process without a socket, interleaved: the service's, one without the `DirectRoutes` middleware,
and one with FastAPI's route class for this path. Times are those of the event loop's thread. The network is a digits
variant, exported by `make demo`, and the image has 8×8 pixels, so that most of the time is Python.
"""

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from fastapi import FastAPI
from fastapi.routing import APIRoute
from PIL import Image
from starlette.types import Message

from examples.digits.train import machine
from service.app import create_app
from service.routers import classify
from service.schemas import Classification
from service.settings import Settings
from service.transport.routes import DirectRoutes

PATH = "/v1/classify"
QUERY = b"model=digits&variant=none&top_k=1"
REQUESTS = 100


def main() -> int:
    """Print a row for each app."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routes", description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path("artifacts"), help="default: the folder of `make demo`")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    times = asyncio.run(measure(options.repository, options.rounds))
    print(f"{datetime.now(UTC).date()}, {machine()}, {options.rounds} rounds of {REQUESTS} requests\n")
    print("| route | CPU, µs per request | × |\n| --- | ---: | ---: |")
    base = statistics.median(times["DirectRoutes"])
    for name, found in times.items():
        print(f"| {name} | {statistics.median(found):.0f} | {statistics.median(found) / base:.2f} |")
    return 0


async def measure(repository: Path, rounds: int) -> dict[str, list[float]]:
    """Return the CPU time per request on the event loop's thread in µs, for each round."""
    apps = {
        name: create_app(Settings(repository=repository, log_format="text"))
        for name in ("DirectRoutes", "FastAPI's routing", "FastAPI's route class")
    }
    for app in list(apps.values())[1:]:
        direct: object = DirectRoutes
        app.user_middleware = [found for found in app.user_middleware if found.cls is not direct]
    apps["FastAPI's route class"].router.routes.insert(
        0, APIRoute(PATH, classify.classify, methods=["POST"], response_model=Classification)
    )
    buffer = BytesIO()
    Image.new("RGB", (8, 8), "white").save(buffer, "PNG")
    times: dict[str, list[float]] = {name: [] for name in apps}
    async with AsyncExitStack() as stack:
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        for number in range(rounds + 1):
            for name, app in list(apps.items())[:: -1 if number % 2 else 1]:
                began = time.thread_time()
                for _ in range(REQUESTS):
                    await post(app, buffer.getvalue())
                if number:  # the first round warms up
                    times[name].append(1e6 * (time.thread_time() - began) / REQUESTS)
    return times


async def post(app: FastAPI, body: bytes) -> None:
    """Send a request to an app, and raise RuntimeError unless the response is 200."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    answered = asyncio.Event()
    statuses = []

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": QUERY,
        "root_path": "",
        "headers": [(b"host", b"benchmark"), (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    await app(scope, receive, send)
    answered.set()
    if statuses != [200]:
        raise RuntimeError(f"the service responded with status {statuses}, expected 200")


if __name__ == "__main__":
    sys.exit(main())
