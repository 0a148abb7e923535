"""Valid API keys, read at start-up and again when their file changes."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from artifact.opening import UnreadableFileError, read_regular
from service.auth.keyfile import ApiKey, digest_of, parse_keys
from service.problems.errors import AccessSettingError

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""Minimum interval between checks of the file; requests trigger the checks."""

_MOST_BYTES = 2**20
"""Maximum size of the file, about 10,000 keys, because it is read on the event loop, in 0.1 s."""

_Signature = tuple[int, int, int, int]
"""Inode, size, mtime and ctime in ns. The ctime cannot be set back, so a file that was overwritten in place with the
same size and mtime is detected too."""


class Keyring:
    """Look-up of keys. Used on the event loop only: the file is small, and read only when it changes.

    If a changed file is invalid, the old keys stay valid, and one line is logged.

    Args:
        path: path of the file.
        clock: monotonic time in s.

    Raises:
        AccessSettingError: the file cannot be read, or is not a file of keys.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        try:
            self._signature: _Signature | None = _signature(path.stat())
            self._keys = parse_keys(_read(path))
        except (OSError, UnicodeDecodeError, AccessSettingError) as error:
            raise AccessSettingError(f"API_KEYS_FILE {path} cannot be used: {_reason(error)}") from error

    def find(self, secret: bytes) -> ApiKey | None:
        """Return the key of a secret, None if it is unknown.

        The time does not reveal keys: clients cannot choose the bits of a digest, and the dictionary's hash is random.
        """
        self._reload_if_changed()
        return self._keys.get(digest_of(secret))

    def _reload_if_changed(self) -> None:
        now = self._clock()
        if now - self._looked_at < CHECK_SECONDS:
            return
        self._looked_at = now
        try:
            signature = _signature(self._path.stat())
        except OSError as error:
            if self._signature is not None:
                logger.error("API_KEYS_FILE %s is missing (%s); the old keys stay valid", self._path, _reason(error))
            self._signature = None
            return
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._keys = parse_keys(_read(self._path))
        except (OSError, UnicodeDecodeError, AccessSettingError) as error:
            logger.error(
                "API_KEYS_FILE %s has changed and cannot be used (%s); the old keys stay valid",
                *(self._path, _reason(error)),
            )
        else:
            logger.info("API_KEYS_FILE %s has changed: %d keys", self._path, len(self._keys))


def _read(path: Path) -> str:
    """Return the file's text without a byte order mark. Links are followed: Kubernetes mounts secrets as links."""
    try:
        return read_regular(Path(os.path.realpath(path)), _MOST_BYTES).decode("utf-8-sig")
    except UnreadableFileError as error:
        raise AccessSettingError(f"it {error}") from error


def _signature(found: os.stat_result) -> _Signature:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _reason(error: OSError | UnicodeDecodeError | AccessSettingError) -> str:
    """Return the reason without contents of the file, which an encoding error would quote."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
