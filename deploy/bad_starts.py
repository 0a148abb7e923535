"""Invalid configurations, with which the container must exit with the service's message and not restart."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.engines import Engine, Wanted


@dataclass(frozen=True)
class BadStart:
    """An invalid configuration.

    Args:
        what: description of the error.
        sentence: expected part of the last line of the log.
        status: expected exit status.
        environment: environment variables that cause the error.
        mode: permissions of an empty repository; None uses the valid one.
    """

    what: str
    sentence: str
    status: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    mode: int | None = None

    def run(self, engine: Engine, image: str, repository: Path) -> str:
        """Return the last line of the log. Raises AssertionError if it or the exit status is not as expected."""
        with tempfile.TemporaryDirectory() as directory:
            if self.mode is not None:
                repository = Path(directory, "repository")
                repository.mkdir()
                repository.chmod(self.mode)
                Path(directory).chmod(0o755)
            container = engine.start(Wanted(image, repository, self.environment))
            try:
                status, log = container.wait(), container.log()
            finally:
                container.remove()
        last = log.strip().rpartition("\n")[2]
        if status != self.status or self.sentence not in last:
            expected = f"expected exit status {self.status} and {self.sentence!r}"
            raise AssertionError(f"{self.what}: {expected}, got {status} and\n{log}")
        return last


_KEYS = "/run/secrets/api_keys"

BAD_STARTS = (
    BadStart("empty repository", "is empty, expected <model>/<variant>/<version>/", mode=0o755),
    BadStart("repository of another owner, not readable", "Permission denied", mode=0o700),
    BadStart("missing repository", "No such file or directory", environment={"POSBAKE_REPOSITORY": "/nowhere"}),
    BadStart("no GPU", "device cuda", environment={"POSBAKE_DEVICE": "cuda"}),
    BadStart("missing key file", f"{_KEYS} cannot be used", environment={"POSBAKE_API_KEYS_FILE": _KEYS}),
    BadStart("address of another host", "cannot listen on 203.0.113.1", environment={"POSBAKE_HOST": "203.0.113.1"}),
    BadStart("invalid setting", "POSBAKE_THREADS", status=2, environment={"POSBAKE_THREADS": "many"}),
)
