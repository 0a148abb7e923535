"""One image through one variant, on a worker thread."""

from service.catalogue import Servable
from service.inputs.forms import Extract
from service.inputs.images import decode
from service.inputs.preprocess import preprocess
from service.ranking import rank
from service.schemas import Prediction
from service.telemetry.stopwatch import Stopwatch


def classify_body(
    servable: Servable, body: bytes, extract: Extract, top_k: int, max_pixels: int, watch: Stopwatch
) -> list[Prediction]:
    """Return the most probable classes of the image in `body`; what passed on `watch` before the call was waiting."""
    watch.lap("queue")
    image = decode(extract(body), max_pixels)
    watch.lap("decode")
    tensor = preprocess(image, servable.manifest, max_pixels)
    watch.lap("preprocess")
    logits = servable.backend.run(tensor)
    watch.lap("inference")
    predictions = rank(logits[0], servable.artifact.labels, top_k)
    watch.lap("postprocess")
    return predictions
