"""Runner of an artifact on this machine, in this process or in several, and the default number of processes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from artifact import Location
from service.backends import on_cores
from service.catalogue.loading import Loader
from service.offline.files import ImageFile
from service.offline.predicting import Runs
from service.offline.processes import running_in_processes
from service.offline.running import running
from service.resources.memory import half_of_memory
from service.settings import Settings

FEW = 2000
"""Number of files below which one process is used.

Measured on 2 cores with a network of one block: two processes take 0.6 s (ONNX Runtime) to 1 s (OpenVINO) longer to
start. In OpenVINO they then save 0.7 ms per image (benchmarks/README.md).
"""

_OWN_BYTES = 256 * 2**20
"""Memory of a process without its network: interpreter, libraries and buffers."""

_COPIES = 4
"""Memory of an opened network in sizes of its files: the graph, packed weights and buffers."""

_PIXEL_BYTES = 16
"""Peak memory of decoding a pixel; see `imaging.formats`."""


@contextmanager
def running_here(
    location: Location, settings: Settings, processes: int | None, files: Iterable[ImageFile]
) -> Iterator[Runs]:
    """Yield a runner of an artifact on this machine.

    Args:
        location: location of the artifact.
        settings: settings of the service.
        processes: number of processes; None for `default_processes`.
        files: see `default_processes`.

    Raises:
        ServiceError: the artifact cannot be opened.
    """
    count = processes or default_processes(location, settings, files)
    if count > 1:
        with running_in_processes(location, settings, count) as runner:
            yield runner
        return
    servable = Loader(settings).open(location)
    try:
        with running(servable, settings) as runner:
            yield runner
    finally:
        servable.backend.close()


def default_processes(location: Location, settings: Settings, files: Iterable[ImageFile]) -> int:
    """Return a process per thread, as far as the memory allows it; 1 for few files, and on a device.

    Args:
        location: location of the artifact.
        settings: settings of the service.
        files: files of the run, of which at most FEW are read.

    Raises:
        BackendUnavailableError: the backend or device is not available.
    """
    if settings.threads == 1 or not on_cores(settings.backend, settings.device):
        return 1
    if next(islice(files, FEW - 1, None), None) is None:
        return 1
    return min(settings.threads, fitting(location, settings, half_of_memory()))


def fitting(location: Location, settings: Settings, memory: int) -> int:
    """Return the number of processes that fit into memory, at least 1.

    Each has its own network, and its share of MAX_HELD_BYTES must be enough for the largest image, so that results do
    not depend on the number of processes.

    Args:
        location: location of the artifact.
        settings: settings of the service.
        memory: bytes for the networks of all processes.
    """
    size = sum(file.stat().st_size for file in location.path.rglob("*") if file.is_file())
    networks = memory // (_OWN_BYTES + _COPIES * size)
    if "max_held_bytes" in settings.model_fields_set:  # for each process
        return max(1, networks)
    largest = _PIXEL_BYTES * settings.max_pixels + settings.max_body_bytes
    return max(1, min(networks, settings.max_held_bytes // largest))
