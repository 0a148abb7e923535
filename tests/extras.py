"""Resolution of posbake's extras against constraints.txt, from metadata alone: nothing is installed or downloaded.

Metadata of installed packages are read from them. Those of others (CUDA, TensorRT, LitServe) are recorded by name and
version in `uninstalled.json`; a changed pin needs a new record, from the `Requires-Dist` lines of that release. The
requirements of TensorRT's libraries are not known, because these are not on the package index.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent

SYSTEMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))
PYTHONS = ("3.11", "3.14")

_EXTRA = re.compile(r"""extra *== *["']([^"']+)""")


@dataclass(frozen=True)
class Index:
    """Data of the resolver.

    Attributes:
        extras: requirements of posbake's extras, and of posbake itself under the name "".
        pins: versions by name.
        recorded: version and requirements of packages that are not installed.
    """

    extras: Mapping[str, list[str]]
    pins: Mapping[str, Version]
    recorded: Mapping[str, tuple[str, list[str]]]

    def requirements(self, name: str, extra: str) -> list[Requirement]:
        """Return the requirements of an extra of a package's pinned version; "" stands for those without an extra.

        Raises:
            LookupError: the metadata are missing or of another version.
        """
        pin = self.pins[name]
        if name in self.recorded:
            version, lines = self.recorded[name]
            where = "recorded in uninstalled.json"
        else:
            installed = _installed(name)
            if installed is None:
                raise LookupError(f"{name} {pin} is neither installed nor recorded in uninstalled.json")
            (version, lines), where = installed, "installed"
        if Version(version) != pin:
            raise LookupError(f"{name} {version} is {where}, constraints.txt has {pin}")
        return [_parsed(line) for line in lines if _belongs_to(line, extra)]


@cache
def _installed(name: str) -> tuple[str, list[str]] | None:
    """Return version and requirements of an installed package."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found.version, found.requires or []


_parsed = cache(Requirement)


@cache
def _belongs_to(line: str, extra: str) -> bool:
    """Return whether a requirement may belong to an extra; evaluating all markers would take most of the time."""
    if " or " in line:
        return True
    extras = _EXTRA.findall(line)
    return extra in {str(canonicalize_name(name)) for name in extras} if extras else not extra


def read_index() -> Index:
    """Return the index of pyproject.toml, constraints.txt and uninstalled.json."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins: dict[str, Version] = {}
    for requirement in map(Requirement, filter(None, lines)):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"constraints.txt has {requirement}, expected =="
        pins[canonicalize_name(requirement.name)] = Version(specifier.version)
    recorded = json.loads((ROOT / "tests/uninstalled.json").read_text())
    return Index(
        {"": project["dependencies"], **project["optional-dependencies"]},
        pins,
        {name: (found["version"], found["requires"]) for name, found in recorded.items()},
    )


def environments() -> Iterator[dict[str, str]]:
    """Yield the markers of all supported systems and Python versions."""
    for platform, system, machine in SYSTEMS:
        for python in PYTHONS:
            yield {
                "os_name": "posix",
                "sys_platform": platform,
                "platform_system": system,
                "platform_machine": machine,
                "platform_release": "",
                "platform_version": "",
                "platform_python_implementation": "CPython",
                "implementation_name": "cpython",
                "implementation_version": f"{python}.0",
                "python_version": python,
                "python_full_version": f"{python}.0",
            }


def resolve(index: Index, extra: str, environment: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """Return the packages that an extra installs, and the problems of their requirements."""
    names, problems = set[str](), set[str]()
    seen = set[tuple[str, str]]()
    waiting = [("posbake", Requirement(line), "") for line in (*index.extras[""], *index.extras[extra])]
    while waiting:
        parent, requirement, requested = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": requested}):
            continue
        name = canonicalize_name(requirement.name)
        pin = index.pins.get(name)
        if pin is None:
            problems.add(f"{name}, which {parent} requires, is not in constraints.txt")
            continue
        names.add(name)
        if not requirement.specifier.contains(pin, prereleases=True):
            problems.add(f"{parent} requires {requirement}, constraints.txt has {pin}")
        for wanted in {"", *requirement.extras} - {done for package, done in seen if package == name}:
            seen.add((name, wanted))
            try:
                waiting += [(name, found, wanted) for found in index.requirements(name, wanted)]
            except LookupError as error:
                problems.add(str(error))
    return names, problems
