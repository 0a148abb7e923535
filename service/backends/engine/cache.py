"""Cache of engines built on this host: a directory of files, each an engine with its description.

An engine is executable code. Therefore the directory must belong to this process's user and not be writable by others,
and an entry is used only if its SHA-256 matches. Format of an entry: a line of JSON, then the engine.
"""

import hashlib
import json
import logging
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from artifact import BuilderSettings, Engine, Gpu, Manifest, Profile
from artifact.opening import UnreadableFileError, open_regular
from artifact.parts.values import Sha256
from engines import Build, Library
from service.problems.errors import BackendUnavailableError

logger = logging.getLogger(__name__)

_FORMAT = 1
_HEADER_LIMIT = 65_536
"""Maximum size of the line of JSON in bytes."""


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    sha256: Sha256
    engine: Engine


def cache_key(
    manifest: Manifest,
    graph_files: Sequence[str],
    library: Library,
    gpu: Gpu,
    profile: Profile,
    settings: BuilderSettings,
) -> str:
    """Return the key of an engine, 64 hexadecimal digits.

    Args:
        manifest: manifest of the artifact.
        graph_files: names of the graph's files; their hashes are in the manifest.
        library: library that builds it.
        gpu: GPU that it is built on.
        profile: batch sizes.
        settings: settings of the builder.
    """
    parts = {
        "format": _FORMAT,
        "files": {name: manifest.files[name].sha256 for name in sorted(graph_files)},
        "library": str(library),
        "gpu": gpu.model_dump(),
        "profile": profile.model_dump(),
        "settings": settings.model_dump(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class EngineCache:
    """Engines by key. Several processes may use one directory.

    Args:
        directory: created if missing, accessible to this user only.

    Raises:
        BackendUnavailableError: the directory cannot be created or written, or others may write to it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.expanduser()
        remedy = "name another directory with --engine-cache"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._directory.stat()
        except OSError as error:
            raise BackendUnavailableError(
                f"the engine cache {self._directory} cannot be used: {error.strerror or error}; {remedy}"
            ) from error
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise BackendUnavailableError(
                f"the engine cache {self._directory} belongs to another user, or others may write to it, and engines "
                f"are executable code; use chown and chmod 700, or {remedy}"
            )
        if not os.access(self._directory, os.W_OK | os.X_OK):
            raise BackendUnavailableError(f"the engine cache {self._directory} cannot be written; {remedy}")

    def find(self, key: str) -> tuple[Engine, bytes] | None:
        """Return an engine and its description; None if missing. A damaged entry is logged and removed."""
        path = self._path(key)
        try:
            with open_regular(path) as file:
                line, plan = file.readline(_HEADER_LIMIT), file.read()
        except UnreadableFileError:
            if not os.path.lexists(path):
                return None
            line, plan = b"", b""
        try:
            header = _Header.model_validate_json(line)
            intact = header.key == key and header.sha256 == hashlib.sha256(plan).hexdigest()
        except ValidationError:
            intact = False
        if intact:
            return header.engine, plan
        logger.warning("the engine cache's %s is damaged; the engine is built again", path)
        with suppress(OSError):
            path.unlink()
        return None

    def store(self, key: str, build: Build) -> None:
        """Store an engine atomically.

        Raises:
            BackendUnavailableError: the engine cannot be written.
        """
        header = _Header(key=key, sha256=hashlib.sha256(build.plan).hexdigest(), engine=build.engine)
        fresh = self._directory / f".{key}-{secrets.token_hex(8)}"
        try:
            try:
                descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(header.model_dump_json(exclude_none=True).encode() + b"\n")
                    file.write(build.plan)
                    file.flush()
                    os.fsync(file.fileno())
                fresh.replace(self._path(key))
            finally:
                fresh.unlink(missing_ok=True)
        except OSError as error:
            raise BackendUnavailableError(
                f"the engine cache {self._directory} cannot be written: {error.strerror or error}; free some space, or "
                "name another directory with --engine-cache"
            ) from error

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.engine"
