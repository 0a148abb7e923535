"""What is done to one image before and after the network, with the laps of every stage."""

from imaging.preprocess import Reading, Tensor, preprocess
from service.catalogue.catalogue import Servable
from service.inputs.forms import Extract
from service.inputs.images import image_problems
from service.telemetry.stopwatch import Stopwatch


def prepare(servable: Servable, body: bytes, extract: Extract, reading: Reading, watch: Stopwatch) -> Tensor:
    """Return the input tensor [1, …] of the image in `body`."""
    with image_problems():
        image = reading.decode(extract(body), [servable.manifest.preprocess])
        watch.lap("decode")
        tensor = preprocess(image, servable.manifest, reading)
        watch.lap("preprocess")
    return tensor
