"""`python -m examples.digits.samples`: write the first test image of each digit to `samples/`."""

from pathlib import Path

from PIL import Image

from examples.digits.data import load_split

SAMPLES = Path(__file__).parent / "samples"


def main() -> None:
    """Write `samples/<digit>.png`, 32×32 pixels."""
    SAMPLES.mkdir(exist_ok=True)
    _, test = load_split()
    for digit in range(10):
        first = int((test.labels == digit).argmax())
        Image.fromarray(test.images[first]).save(SAMPLES / f"{digit}.png", optimize=True)


if __name__ == "__main__":
    main()
