"""Ways to damage an artifact, each a function of the directory of a valid one."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artifact.hashing import describe_file
from artifact.manifest import FileEntry

Damage = Callable[[Path], None]

HUGE = 2**40
"""Size of a sparse file in bytes, which takes hours to read but no space on the disk."""


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def list_file(path: Path, name: str, entry: FileEntry | None = None) -> None:
    """List a file in the manifest, by default with a size of one byte."""
    found = entry or FileEntry(sha256="0" * 64, size=1)
    edit(path, lambda manifest: manifest["files"].update({name: found.model_dump()}))


def relabel(path: Path, content: bytes) -> None:
    """Replace the labels of an artifact and update its manifest."""
    (path / "labels.txt").write_bytes(content)
    list_file(path, "labels.txt", describe_file(path / "labels.txt"))


def sparse(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(HUGE)


def replace(name: str, make: Callable[[Path], object]) -> Damage:
    """Return a damage that replaces a file with what `make` creates."""

    def damage(path: Path) -> None:
        (path / name).unlink()
        make(path / name)

    return damage


def add(name: str, make: Callable[[Path], object]) -> Damage:
    def damage(path: Path) -> None:
        make(path / name)
        list_file(path, name)

    return damage


def write_manifest(content: bytes) -> Damage:
    def damage(path: Path) -> None:
        (path / "manifest.json").write_bytes(content)

    return damage


def field(name: str, value: object) -> Damage:
    return lambda path: edit(path, lambda manifest: manifest.update({name: value}))


def bind(file: Path) -> None:
    """Create a socket by a relative path, because paths of sockets are limited to 107 bytes."""
    before = Path.cwd()
    os.chdir(file.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(file.name)
    finally:
        os.chdir(before)


def nested(depth: int, inside: bytes = b"0") -> bytes:
    return b"[" * depth + inside + b"]" * depth


def list_sparse(path: Path) -> None:
    sparse(path / "model.data")
    list_file(path, "model.data", FileEntry(sha256="0" * 64, size=HUGE))


def cyclic_link(file: Path) -> None:
    file.symlink_to(file.name)


def link_to_a_fifo(file: Path) -> None:
    os.mkfifo(file.with_suffix(".fifo"))
    file.symlink_to(file.with_suffix(".fifo"))


NOT_FILES: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a socket": bind,
    "a link to /dev/zero": lambda file: file.symlink_to("/dev/zero"),
    "a link to a FIFO": link_to_a_fifo,
    "a cyclic link": cyclic_link,
    "a directory": Path.mkdir,
    "a sparse file": sparse,
}

UNREADABLE: dict[str, Damage] = {
    **{
        f"{name} is {what}": replace(name, make)
        for what, make in NOT_FILES.items()
        for name in ("manifest.json", "labels.txt", "model.onnx")
    },
    **{f"a listed file is {what}": add("more", make) for what, make in NOT_FILES.items()},
    "manifest.json nests [ 100,000 deep": write_manifest(b"[" * 100_000),
    "manifest.json nests lists 900 deep": write_manifest(b'{"format":1,"model":' + nested(900) + b"}"),
    "manifest.json nests objects 50,000 deep": write_manifest(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "manifest.json has 2 MB": write_manifest(b'{"format": 1, "model": "' + b"x" * 2_000_000 + b'"}'),
    "manifest.json has 100,000 unknown fields": write_manifest(
        json.dumps({"format": 1, **{str(number): 0 for number in range(80_000)}}).encode()
    ),
    "manifest.json holds a number of 100,000 digits": write_manifest(b'{"format": ' + b"9" * 100_000 + b"}"),
    "the format is a string of 900,000 characters": field("format", "f" * 900_000),
    "the format nests 150 deep": write_manifest(b'{"format":' + nested(150) + b"}"),
    "a field's name has 900,000 characters": field("f" * 900_000, 0),
    "a field's name has an escape sequence": field("\x1b[31m\n2026-11-26 INFO forged", 0),
    "the labels are a name of 900,000 characters": field("labels", "l" * 900_000),
    "a file's name has a NUL": lambda path: list_file(path, "a\0b"),
    "a file's name has a lone surrogate": lambda path: list_file(path, "\ud800"),
    "a file's name has 5,000 characters": lambda path: list_file(path, "f" * 5_000),
    "a file's name has 5,000 parts": lambda path: list_file(path, "/".join("f" * 5_000)),
    "the labels' name has a lone surrogate": field("labels", "\ud800"),
    "the labels' name has a NUL": field("labels", "\0"),
    "a listed sparse file has its size": list_sparse,
    "classes are a number of 4,000 digits": lambda path: edit(
        path, lambda manifest: manifest["output"].update(classes=10**3999)
    ),
    "a size is a number of 4,000 digits": lambda path: edit(
        path, lambda manifest: manifest["files"]["model.onnx"].update(size=10**3999)
    ),
    **{
        f"the {name} is {value}": lambda path, name=name, value=value: edit(  # type: ignore[misc]
            path, lambda manifest: manifest["preprocess"].update({name: [0.5, value, 0.5]})
        )
        for name in ("mean", "std")
        for value in (float("nan"), float("inf"))
    },
    "manifest.json is UTF-16": write_manifest('{"format": 1}'.encode("utf-16")),
    "labels are UTF-16": lambda path: relabel(path, "a\nb\nc\nd\n".encode("utf-16")),
    "labels are empty": lambda path: relabel(path, b""),
    "a label has 100 kB": lambda path: relabel(path, b"a\nb\n" + b"c" * 100_000 + b"\n"),
    "labels are 17 MB": lambda path: relabel(path, b"a\nb\n" + b"c" * 17_000_000 + b"\n"),
    "an unlisted file has an escape sequence": lambda path: (path / "\x1b[2J\n").touch(),
    "an unlisted file is not UTF-8": lambda path: (path / os.fsdecode(b"\xff\xfe")).touch(),
}
