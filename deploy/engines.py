"""Container engines of the image test: docker, podman, or a plain chroot over an image of buildah.

All three provide a read-only root, a tmpfs on /tmp, the image's user, no capabilities, and no way to gain any. The
chroot is for hosts that can build images but not run containers; it requires root and shares the host's network.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

PORT_IN_IMAGE = 8000
SECONDS_TO_END = 60


@dataclass(frozen=True)
class Wanted:
    """Container to start.

    Args:
        image: name of the image.
        repository: directory to mount on /artifacts, read-only.
        environment: variables in addition to those of the image.
    """

    image: str
    repository: Path
    environment: Mapping[str, str] = field(default_factory=dict)


class Container(Protocol):
    """A started container."""

    @property
    def url(self) -> str:
        """Return the service's address on this host: http://127.0.0.1:PORT."""

    def execute(self, *command: str) -> int:
        """Run a command in the container, as its user, and return the exit status."""

    def terminate(self) -> None:
        """Send SIGTERM to the container's first process."""

    def wait(self) -> int:
        """Return the exit status. Raises TimeoutError if the container runs longer than SECONDS_TO_END."""

    def log(self) -> str:
        """Return its output on stdout and stderr."""

    def remove(self) -> None:
        """Kill and remove the container."""


class Engine(Protocol):
    """Container engine."""

    name: str

    def start(self, wanted: Wanted) -> Container:
        """Start a container and return at once."""


def find_engine(image: str) -> Engine:
    """Return the first engine that has the image and can run it on this host.

    Raises:
        RuntimeError: there is no such engine.
    """
    for program in ("docker", "podman"):
        if shutil.which(program) and _runs(program, image):
            return CommandLine(program)
    if shutil.which("buildah") and os.geteuid() == 0 and _succeeds("buildah", "inspect", "--type", "image", image):
        return Chroot()
    raise RuntimeError(f"{image} runs in neither docker, podman nor buildah (as root); build it with `make images`")


def free_port() -> int:
    """Return a free port on 127.0.0.1."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class CommandLine:
    """docker, or podman with the same arguments."""

    def __init__(self, program: str) -> None:
        self.name = program

    def start(self, wanted: Wanted) -> "CommandLineContainer":
        """Start a container whose port is published on 127.0.0.1."""
        port = free_port()
        limits = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]  # noqa: S108
        variables = [option for pair in wanted.environment.items() for option in ("--env", "=".join(pair))]
        volume = ["--volume", f"{wanted.repository.resolve()}:/artifacts:ro"]
        publish = ["--publish", f"127.0.0.1:{port}:{PORT_IN_IMAGE}"]
        command = [self.name, "run", "--detach", *limits, *variables, *volume, *publish, wanted.image]
        return CommandLineContainer(self.name, _output(*command).strip(), f"http://127.0.0.1:{port}")


@dataclass(frozen=True)
class CommandLineContainer:
    """A container of docker or podman."""

    program: str
    identity: str
    url: str

    def execute(self, *command: str) -> int:
        """See Container."""
        return subprocess.run([self.program, "exec", self.identity, *command], check=False).returncode  # noqa: S603

    def terminate(self) -> None:
        """See Container."""
        _output(self.program, "kill", "--signal", "TERM", self.identity)

    def wait(self) -> int:
        """See Container."""
        try:
            return int(_output(self.program, "wait", self.identity, timeout=SECONDS_TO_END))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self.identity} still runs after {SECONDS_TO_END} s") from error

    def log(self) -> str:
        """See Container."""
        command = [self.program, "logs", self.identity]
        return subprocess.run(command, stdout=-1, stderr=-2, text=True, check=True).stdout  # noqa: S603

    def remove(self) -> None:
        """See Container."""
        _output(self.program, "rm", "--force", self.identity)


class Chroot:
    """A buildah image in a chroot with new mount and process namespaces."""

    name = "buildah"

    def start(self, wanted: Wanted) -> "ChrootContainer":
        """Start the image's entrypoint as process 1 of the namespace."""
        config = json.loads(_output("buildah", "inspect", "--type", "image", wanted.image))["Docker"]["config"]
        port = free_port()
        variables = dict(pair.partition("=")[::2] for pair in config["Env"])
        variables |= {"POSBAKE_PORT": str(port), **wanted.environment}
        working = _output("buildah", "from", wanted.image).strip()
        root = Path(_output("buildah", "mount", working).strip())
        confined = _as_user(root, config["User"], config["WorkingDir"], variables)
        script = _MOUNTS + 'exec "$@"'
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script, str(root)]
        command = [*unshare, str(wanted.repository.resolve()), *confined, *config["Entrypoint"], *(config["Cmd"] or ())]
        return ChrootContainer(working, root, tuple(confined), command, f"http://127.0.0.1:{port}")


_MOUNTS = """
root=$0; artifacts=$1; shift
mount --bind "$root" "$root"
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --bind -o ro "$artifacts" "$root/artifacts"
mount -t tmpfs -o size=64k,mode=755 tmpfs "$root/dev"
for node in null zero random urandom; do touch "$root/dev/$node"; mount --bind "/dev/$node" "$root/dev/$node"; done
mount -o remount,bind,ro "$root"
"""


def _as_user(root: Path, user: str, directory: str, variables: Mapping[str, str]) -> list[str]:
    """Return a command prefix that enters the root and drops all privileges."""
    uid, _, gid = user.partition(":")
    drop = ["--reuid", uid, "--regid", gid or uid, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    environment = [f"{name}={value}" for name, value in variables.items()]
    enter = ["env", "--ignore-environment", *environment, "chroot", str(root)]
    return [*enter, "setpriv", *drop, "--no-new-privs", "env", "--chdir", directory]


class ChrootContainer:
    """The process tree in a chroot."""

    def __init__(self, working: str, root: Path, confined: tuple[str, ...], command: list[str], url: str) -> None:
        self.url = url
        self._working = working
        self._root = root
        self._confined = confined
        self._log = Path(root.parent, f"{working}.log")
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)  # noqa: S603

    def execute(self, *command: str) -> int:
        """See Container."""
        enter = ["nsenter", "--target", str(self._first()), "--mount", "--pid"]
        return subprocess.run([*enter, *self._confined, *command], check=False).returncode  # noqa: S603

    def terminate(self) -> None:
        """See Container."""
        os.kill(self._first(), signal.SIGTERM)

    def wait(self) -> int:
        """See Container."""
        try:
            return self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self._working} still runs after {SECONDS_TO_END} s") from error

    def log(self) -> str:
        """See Container."""
        return self._log.read_text()

    def remove(self) -> None:
        """See Container."""
        # Killing the first process ends the whole namespace. unshare's --kill-child has no effect after the process
        # changes its user.
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self._first(), signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._log.unlink()
        _output("buildah", "rm", self._working)

    def _first(self) -> int:
        """Return the host's process id of the namespace's first process."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for _ in range(100):
            if self._process.poll() is not None:
                raise ProcessLookupError(f"{self._working} has ended")
            if found := children.read_text().split():
                return int(found[0])
            time.sleep(0.01)
        raise TimeoutError(f"{self._working} has not started")


def _runs(program: str, image: str) -> bool:
    """Return whether the engine can start a container of the image, which an installed program may not."""
    return _succeeds(program, "run", "--rm", "--pull", "never", "--entrypoint", "true", image)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


def _output(*command: str, timeout: float | None = None) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=timeout).stdout  # noqa: S603
