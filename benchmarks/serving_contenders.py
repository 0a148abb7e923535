"""The contenders of `benchmarks.serving`: installation, start, request and response of each."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.contenders.environments import Apart, Beside, Environment
from service.resources.cores import available_cores


def first_prediction(answer: Any) -> str:  # noqa: ANN401 -- JSON
    """Return the label of the most probable class."""
    label: str = answer["predictions"][0]["label"]
    return label


def first_of_tensor(answer: Any) -> str:  # noqa: ANN401 -- JSON
    """Return the label of the most probable class: the first value of the first v2 output tensor."""
    label: str = answer["outputs"][0]["data"][0]
    return label


def base64_tensor(image: bytes) -> bytes:
    """Return an Open Inference Protocol request whose only tensor is the file in base64."""
    data = [base64.b64encode(image).decode()]
    tensor = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    return json.dumps({"inputs": [tensor | {"data": data}]}).encode()


@dataclass(frozen=True)
class Contender:
    """A server to compare."""

    name: str
    environment: Environment
    kind: str
    """The artifact's input: uint8 or float32."""
    command: Callable[[int, Path], tuple[str, ...]]
    """Arguments of Python, from the port and the repository."""
    path: str
    body: Callable[[bytes], bytes] = bytes
    """Request body, from the file of an image."""
    content_type: str = "image/jpeg"
    top: Callable[[Any], str] = first_prediction
    """Label of the most probable class, from the response's JSON."""


RUN_MODULE = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('service', alter_sys=True, run_name='__main__')"
)


def of_another_checkout(checkout: Path) -> Contender:
    """Return the service of another checkout, in this environment."""
    ours = CONTENDERS["posbake"]
    return replace(
        ours,
        name=f"posbake of {checkout.name}",
        command=lambda port, repository: ("-c", RUN_MODULE, str(checkout), *ours.command(port, repository)[2:]),
    )


CONTENDERS = {
    "posbake": Contender(
        "posbake",
        Beside("service"),
        "uint8",
        lambda port, repository: ("-m", "service", "--repository", str(repository), "--port", str(port)),
        "/v1/classify?variant=uint8",
    ),
    "processes": Contender(
        "posbake, one process per core",
        Beside("service"),
        "uint8",
        lambda port, repository: (
            *("-m", "service", "--repository", str(repository), "--port", str(port)),
            *("--processes", str(available_cores())),
        ),
        "/v1/classify?variant=uint8",
    ),
    "fastapi": Contender(
        "FastAPI + thread pool",
        Beside("fastapi"),
        "float32",
        lambda port, _: ("-m", "uvicorn", "benchmarks.plain_fastapi:app", "--port", str(port)),
        "/classify",
    ),
    "litserve": Contender(
        "LitServe",
        Beside("litserve"),
        "float32",
        lambda port, _: ("-m", "benchmarks.lit_serve", str(port)),
        "/predict",
    ),
    "ray": Contender(
        "Ray Serve",
        Apart("ray"),
        "float32",
        lambda port, _: ("-m", "benchmarks.contenders.ray_serve", str(port)),
        "/",
    ),
    "bentoml": Contender(
        "BentoML",
        Apart("bentoml"),
        "float32",
        lambda port, _: (
            *("-m", "bentoml", "serve", "benchmarks.contenders.bento_serve:Classifier"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ),
        "/classify",
    ),
    "mlserver": Contender(
        "MLServer",
        Apart("mlserver"),
        "float32",
        lambda port, repository: (
            *("-m", "benchmarks.contenders.ml_server"),
            *(str(port), str(repository.parent / str(port) / "benchmark")),
        ),
        "/v2/models/benchmark/infer",
        base64_tensor,
        "application/json",
        first_of_tensor,
    ),
}
