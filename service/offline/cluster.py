"""`predict` on a Ray cluster: Ray Data distributes parts of the files to processes on its nodes.

Each process opens and runs the artifact as in a local run. Nodes read files and artifact under the same paths as this
process. Results are returned in the order of the files; parts of a failed node are run again on another node.
"""

import hashlib
import logging
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from artifact import Artifact, Location, read_artifact
from service.catalogue.loading import Loader
from service.offline.errors import ClusterError, OfflineError
from service.offline.files import ImageFile
from service.offline.running import Result, running
from service.offline.stopping import Stopping
from service.problems.errors import ServiceError
from service.resources.cores import available_cores
from service.resources.memory import half_of_memory
from service.settings import Settings

if TYPE_CHECKING:
    import pyarrow

T = TypeVar("T")

_PART = 256
"""Number of files per part; threads are idle while the last files of a part run."""


@dataclass
class ClusterRunner:
    """Runner of a network over files on a cluster; created by `running_on`.

    Attributes:
        artifact: the artifact.
        backend: name of the nodes' backend, known after the first result.
    """

    artifact: Artifact
    location: Location
    settings: Settings
    resources: dict[str, float]
    """Resources of each process, by Ray's names."""
    processes: int
    """Maximum number of processes on the nodes."""
    backend: str = ""

    def run(self, files: Iterable[ImageFile], make: Callable[[Result], T], stopping: Stopping) -> Iterator[T]:
        """Yield `make` of the result of each file, in their order; once `stopping`, none that has not come back.

        The names of all files are kept in memory.

        Raises:
            ClusterError: the nodes cannot run the network.
        """
        import ray.data
        from ray.exceptions import RayError

        parts = _parts(files)
        first = next(parts, None)
        if first is None:
            return
        options = ray.data.DataContext.get_current()
        options.enable_progress_bars = False
        options.execution_options.preserve_order = True
        found = ray.data.from_arrow([first, *parts]).map_batches(
            _Node,
            fn_constructor_args=(self.location, _manifest_hash(self.location), self.settings, make, str(Path.cwd())),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.processes),
            **self.resources,
        )
        try:
            for table in found.iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in table.to_pylist():
                    if failure := row["failure"]:
                        raise ClusterError(failure)
                    self.backend = row["backend"]
                    yield from pickle.loads(row["made"])  # noqa: S301 -- by this program, on a node
                if stopping.requested:
                    return
        except RayError as error:
            raise ClusterError(f"the Ray cluster failed: {error}") from error


@contextmanager
def running_on(address: str, location: Location, settings: Settings, stopping: Stopping) -> Iterator[ClusterRunner]:
    """Yield a runner of an artifact on the cluster at an address; `local` starts one on this machine.

    Each process has `settings.threads` CPUs if set, otherwise as many as the smallest node. With device cuda it also
    has a GPU.

    Raises:
        ClusterError: Ray is not installed, the cluster does not respond, or no node has room for a process.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # for `local`: Ray sends no usage statistics
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # errors of Ray Data's own statistics when a node is lost
    try:
        import ray.data
    except ImportError as error:
        raise ClusterError(f"--ray needs Ray Data, {error}: pip install 'posbake[ray]'") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):  # Ray prints the state of nodes
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(f"cannot connect to the Ray cluster at {address!r}: {error}") from error
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            with stopping.signals():  # again, because Ray replaces the handler of SIGTERM
                yield _runner(location, settings, nodes)
        finally:
            ray.shutdown()


def _runner(location: Location, settings: Settings, nodes: list[dict[str, float]]) -> ClusterRunner:
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    threads = settings.threads if "threads" in settings.model_fields_set or not cores else min(cores)
    resources: dict[str, float] = {"num_cpus": threads}
    room = [count // threads for count in cores]
    if settings.device == "cuda":
        resources["num_gpus"] = 1
        room = [min(int(node["CPU"]) // threads, int(node.get("GPU", 0))) for node in nodes if node.get("CPU", 0) >= 1]
    if not sum(room):
        wanted = f"{threads} CPUs{' and a GPU' if settings.device == 'cuda' else ''}"
        raise ClusterError(f"no node of the cluster has {wanted}; give a smaller --threads or another --device")
    artifact = read_artifact(location.path)
    return ClusterRunner(artifact, location, settings.model_copy(update={"threads": threads}), resources, sum(room))


class _Node:
    """Process on the cluster that opens the artifact and runs parts of the files.

    Errors of opening the artifact are returned, not raised, because Ray would retry, and print a traceback.
    """

    def __init__(
        self, location: Location, manifest_hash: str, settings: Settings, make: Callable[[Result], object], folder: str
    ) -> None:
        self._failure = ""
        self._make = make
        try:
            os.chdir(folder)
            if _manifest_hash(location) != manifest_hash:
                raise ClusterError(f"{location.path} is another artifact there")
            if "max_held_bytes" not in settings.model_fields_set:
                share = half_of_memory() // max(1, available_cores() // settings.threads)
                settings = settings.model_copy(update={"max_held_bytes": share})
            self._servable = Loader(settings).open(location)
        except OSError as error:
            self._failure = (
                f"cannot read {error.filename}: {error.strerror}; repository, files and the directory of the command "
                "must be under the same names on every node"
            )
        except ServiceError as error:
            self._failure = str(error)
        else:
            self._running = running(self._servable, settings)  # until the process ends
            self._runner = self._running.__enter__()

    def __call__(self, part: "pyarrow.Table") -> "pyarrow.Table":
        import pyarrow

        if self._failure:
            return _failed(self._failure)
        files = (ImageFile(os.fsdecode(row["path"]), flaw=row["flaw"]) for row in part.to_pylist())
        try:
            made = list(self._runner.run(files, self._make, Stopping()))
        except OfflineError as error:
            return _failed(str(error))
        return pyarrow.Table.from_pylist([{"backend": self._runner.backend, "made": pickle.dumps(made)}], _schema())


def _schema() -> "pyarrow.Schema":
    import pyarrow

    return pyarrow.schema({"failure": pyarrow.string(), "backend": pyarrow.string(), "made": pyarrow.binary()})


def _failed(reason: str) -> "pyarrow.Table":
    import pyarrow

    return pyarrow.Table.from_pylist([{"failure": f"node {socket.gethostname()}: {reason}"}], _schema())


def _parts(files: Iterable[ImageFile]) -> Iterator["pyarrow.Table"]:
    import pyarrow

    waiting = iter(files)
    while part := list(islice(waiting, _PART)):
        columns = {"path": [os.fsencode(file.path) for file in part], "flaw": [file.flaw for file in part]}
        yield pyarrow.table(columns)


def _manifest_hash(location: Location) -> str:
    return hashlib.sha256((location.path / "manifest.json").read_bytes()).hexdigest()
