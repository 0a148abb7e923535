"""A FastAPI service with a thread pool and ONNX Runtime, the baseline of `benchmarks.serving`.

Uvicorn, FastAPI and ONNX Runtime have their defaults; one process; the model is loaded and run once at startup.
`benchmarks.plain_model` has the model and its pre- and postprocessing.

    POSBAKE_PLAIN_ARTIFACT=DIR uvicorn benchmarks.plain_fastapi:app
"""

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from benchmarks.plain_model import PlainModel

model = PlainModel()
app = FastAPI()


class Prediction(BaseModel):
    """One class."""

    label: str
    probability: float


class Answer(BaseModel):
    """The most probable classes."""

    predictions: list[Prediction]


def predict(data: bytes) -> Answer:
    """Decode, resize, crop, normalise, run, rank."""
    return Answer(
        predictions=[Prediction(label=label, probability=probability) for label, probability in model.classify(data)]
    )


@app.post("/classify")
async def classify(request: Request) -> Answer:
    """Classify the image in the request body."""
    return await run_in_threadpool(predict, await request.body())
