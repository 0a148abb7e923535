"""Export from a repository of artifacts to a Triton repository, with one call per step."""

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager

from export.process.errors import ExportError
from export.triton_repository.backends import Plan, plan
from export.triton_repository.networks import Network, read_networks
from export.triton_repository.request import TritonRequest, WrittenNetwork, WrittenRepository
from export.triton_repository.writing import requirements, staged, write_network, write_pixels

Show = Callable[[str], AbstractContextManager[object]]
"""Callback that returns a context manager, which shows a step for its duration."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def export_triton(request: TritonRequest, show: Show) -> WrittenRepository:
    """Write a Triton repository.

    Raises:
        ArtifactError: an artifact is damaged.
        ExportError: see `read_networks`, `plan` and `staged`; or the disk is full, or the output is inside of the
            repository of artifacts.
        OSError: the repository cannot be written.
    """
    planned = plan(request)
    if request.output.resolve().is_relative_to(request.repository.resolve()):
        raise ExportError(
            f"{request.output} is inside of {request.repository}, whose server would take it for a model; give an "
            "--output outside of it"
        )
    with show("verifying artifacts"):
        networks = read_networks(request)
    for network in networks:
        for version in network.versions:
            planned.check(version.manifest)
    try:
        with staged(request.output) as directory:
            for network in networks:
                with show(f"writing {network.name}"):
                    write_network(directory, network, planned, request)
            write_pixels(directory, networks, request)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise ExportError(
            f"no space to write {request.output}: {os.strerror(error.errno)}; free space, or choose another --output"
        ) from error
    written = tuple(_written(network, planned) for network in networks)
    return WrittenRepository(request.output, request.backend, written, requirements(request))


def _written(network: Network, planned: Plan) -> WrittenNetwork:
    manifest = network.manifest
    return WrittenNetwork(
        name=network.name,
        image=network.image_name,
        pixels=network.pixels_name,
        versions=tuple(version.manifest.version for version in network.versions),
        max_batch=network.max_batch,
        task=manifest.task,
        precision=manifest.precision,
        notes=_notes(network, planned),
    )


def _notes(network: Network, planned: Plan) -> tuple[str, ...]:
    notes = []
    if network.manifest.task == "multi-label":
        notes.append("multi-label: Triton's classification has no threshold; apply a sigmoid and a threshold to logits")
    if not network.dynamic:
        notes.append("the graph has batch size 1, so requests are not batched")
    if (note := planned.backend.note(network.manifest)) is not None:
        notes.append(note)
    return tuple(notes)
