"""What one writes without posbake: FastAPI, a thread pool, ONNX Runtime; the other side of `benchmarks.serving`.

Uvicorn, FastAPI and ONNX Runtime as they come, one process, the model loaded and run once at the start. Pixels are
normalised in NumPy, as every tutorial does, so the graph takes float32.

    POSBAKE_PLAIN_ARTIFACT=DIR uvicorn benchmarks.plain_fastapi:app
"""

import io
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from pydantic import BaseModel

SIDE, SHORTER = 224, 248
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
TOP = 5

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
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SHORTER / min(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    image = image.crop((left, top, left + SIDE, top + SIDE))
    pixels = (np.asarray(image, np.float32) / 255 - MEAN) / STD
    logits = session.run(None, {"image": np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])})[0][0]
    powers = np.exp(logits - logits.max())
    probabilities = powers / powers.sum()
    best = np.argsort(-probabilities)[:TOP]
    return Answer(predictions=[Prediction(label=labels[i], probability=float(probabilities[i])) for i in best])


@app.post("/classify")
async def classify(request: Request) -> Answer:
    """The image is the body."""
    return await run_in_threadpool(predict, await request.body())
