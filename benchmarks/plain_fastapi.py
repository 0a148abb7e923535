"""A FastAPI service with a thread pool and ONNX Runtime, the baseline of `benchmarks.serving`.

Uvicorn, FastAPI and ONNX Runtime with their defaults, one process, the model loaded and run once at the start; the
model and what comes before and after it are `benchmarks.plain_model`.

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
    """The image is the body."""
    return await run_in_threadpool(predict, await request.body())
