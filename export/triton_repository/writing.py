"""Atomic writing of a Triton repository."""

import io
import shutil
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from PIL import Image

import artifact
import imaging
from artifact import Artifact
from artifact.guard import guarded_directory
from artifact.hashing import describe_file
from artifact.manifest import MANIFEST_NAME
from artifact.writer import flush
from export.process.errors import ExportError
from export.triton_repository.backends import Plan
from export.triton_repository.configs import (
    LABELS_FILE,
    WARMUP_FILE,
    ensemble_config,
    network_config,
    pixels_config,
)
from export.triton_repository.networks import Network
from export.triton_repository.pbtxt import Fields, to_text
from export.triton_repository.request import TritonRequest

REQUIREMENTS_FILE = "requirements.txt"

_PYTHON_MODEL = Path(__file__).with_name("pixels.py")
_DISTRIBUTIONS = {"simd": ("pillow", "pydantic", "cykooz-resizer"), "pillow": ("pillow", "pydantic")}
"""Packages that `imaging` and `artifact` import, by resizer, except NumPy, which Triton's images include."""


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Create an empty directory, and rename it to `output` after the context; after an error it is removed.

    Raises:
        ExportError: `output` exists.
        OSError: the directory cannot be written.
    """
    _check_new(output)
    with guarded_directory(output.absolute().parent, f".{output.name}-") as directory:
        yield directory
        for path in directory.rglob("*"):
            flush(path)
        _check_new(output)
        directory.rename(output.absolute())
        flush(output.absolute().parent)


def write_network(directory: Path, network: Network, plan: Plan, request: TritonRequest) -> None:
    """Write a network with its versions, and its ensemble.

    Raises:
        ExportError: a file changed after it was verified.
        OSError: a file cannot be written.
    """
    target = directory / network.name
    _write_config(target, network_config(network, plan, request))
    _write_labels(target, network)
    for each in network.versions:
        _copy_version(each, target / str(each.manifest.version), plan)
    ensemble = directory / network.image_name
    _write_config(ensemble, ensemble_config(network))
    _write_labels(ensemble, network)
    # Triton requires a directory for each version, and object stores have no empty directories.
    (ensemble / str(network.manifest.version)).mkdir()
    shutil.copyfile(network.newest.path / MANIFEST_NAME, ensemble / str(network.manifest.version) / MANIFEST_NAME)


def write_pixels(directory: Path, networks: Sequence[Network], request: TritonRequest) -> None:
    """Write a Python model for each distinct preprocessing, and requirements.txt.

    Raises:
        OSError: a file cannot be written.
    """
    alike: dict[str, list[Network]] = defaultdict(list)
    for network in networks:
        alike[network.pixels_name].append(network)
    for name, sharing in alike.items():
        model = directory / name
        _write_config(model, pixels_config(sharing, request))
        code = model / "1"
        code.mkdir()
        shutil.copyfile(_PYTHON_MODEL, code / "model.py")
        shutil.copyfile(sharing[0].newest.path / MANIFEST_NAME, code / MANIFEST_NAME)
        for package in (artifact, imaging):
            _copy_code(Path(package.__path__[0]), code)
        (model / "warmup").mkdir()
        (model / "warmup" / WARMUP_FILE).write_bytes(_one_image(sharing[0]))
    (directory / REQUIREMENTS_FILE).write_text("".join(f"{line}\n" for line in requirements(request)))


def requirements(request: TritonRequest) -> tuple[str, ...]:
    """Return the requirements of the Python models, in the installed versions: others may decode to other pixels."""
    return tuple(f"{name}=={version(name)}" for name in _DISTRIBUTIONS[request.resizer])


def _check_new(output: Path) -> None:
    if output.exists() or output.is_symlink():
        raise ExportError(f"{output} already exists; give another --output, or remove it first")


def _write_config(model: Path, config: Fields) -> None:
    model.mkdir()
    (model / "config.pbtxt").write_text(to_text(config), encoding="utf-8")


def _write_labels(model: Path, network: Network) -> None:
    text = "".join(f"{label}\n" for label in network.newest.labels)
    (model / LABELS_FILE).write_text(text, encoding="utf-8")


def _copy_version(version: Artifact, target: Path, plan: Plan) -> None:
    target.mkdir()
    for name, file in plan.backend.files(version).items():
        shutil.copyfile(file, target / name)
        if describe_file(target / name) != version.manifest.files[file.name]:
            raise ExportError(f"{file} changed while it was copied; try again")
    shutil.copyfile(version.path / MANIFEST_NAME, target / MANIFEST_NAME)


def _copy_code(package: Path, target: Path) -> None:
    """Copy a package's modules; shutil.copytree would replace the original OSError."""
    for file in package.rglob("*.py"):
        copied = target / file.relative_to(package.parent)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)


def _one_image(network: Network) -> bytes:
    """Return a grey image of the input's size as a binary tensor: length of the file, and the file."""
    image = network.manifest.input
    file = io.BytesIO()
    Image.new("RGB", (image.width, image.height), "grey").save(file, "JPEG")
    return struct.pack("<I", len(file.getvalue())) + file.getvalue()
