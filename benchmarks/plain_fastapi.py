"""What one writes without posbake: FastAPI, a thread pool, ONNX Runtime; the other side of `benchmarks.serving`.

Uvicorn, FastAPI and ONNX Runtime as they come, one process, the model loaded and run once at the start; what comes
before and after it is `benchmarks.plain_stages`.

    POSBAKE_PLAIN_ARTIFACT=DIR uvicorn benchmarks.plain_fastapi:app
"""

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from benchmarks.plain_stages import SIDE, preprocess, rank

folder = Path(os.environ["POSBAKE_PLAIN_ARTIFACT"])
labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
session.run(None, {"image": np.zeros((1, 3, SIDE, SIDE), np.float32)})
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
    logits = session.run(None, {"image": preprocess(data)})[0][0]
    return Answer(predictions=[Prediction(label=label, probability=value) for label, value in rank(logits, labels)])


@app.post("/classify")
async def classify(request: Request) -> Answer:
    """The image is the body."""
    return await run_in_threadpool(predict, await request.body())
