"""Apps and requests for tests of /v1/compare."""

from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from service.app import create_app
from service.settings import Settings
from tests.service.pictures import encode, random_pixels

PNG = encode(random_pixels(300, 200))
STEPS = {"resize": (8, 6), "interpolation": "bicubic", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}


def scripted_client(path: Path, **settings: object) -> TestClient:
    made = Settings.model_validate({"repository": path, "backend": "scripted", "threads": 2, **settings})
    return TestClient(create_app(made))


def image_with_center(corner: int, middle: int) -> bytes:
    """Return an image whose red value is `middle` in its central part, and `corner` elsewhere."""
    pixels: NDArray[np.uint8] = np.full((24, 18, 3), (corner, 1, 2), np.uint8)
    pixels[8:16, 6:12, 0] = middle
    return encode(pixels)


def compare(client: TestClient, query: str = "", content: bytes = PNG) -> dict[str, Any]:
    response = client.post(f"/v1/compare?{query}", content=content)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer
