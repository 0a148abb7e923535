"""Valid keys while their file changes."""

import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.auth.keyfile import line_of, new_key
from service.auth.keyring import CHECK_SECONDS, Keyring
from service.problems.errors import AccessSettingError

ALICE, BOB = new_key("alice"), new_key("bob", admin=True)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def write(file: Path, *keys: tuple[str, object]) -> None:
    file.write_text("".join(line_of(key) + "\n" for _, key in keys))  # type: ignore[arg-type]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(tmp_path / "keys", ALICE)
    return tmp_path / "keys"


def found(keyring: Keyring, secret: str) -> str | None:
    key = keyring.find(secret.encode())
    return None if key is None else key.name


def test_only_the_complete_key_is_found(file: Path) -> None:
    write(file, ALICE, BOB)
    keyring, secret = Keyring(file), ALICE[0]
    assert (found(keyring, secret), found(keyring, BOB[0])) == ("alice", "bob")
    for wrong in ("", secret[:-1], secret + "x", secret.swapcase(), ALICE[1].digest.hex()):
        assert found(keyring, wrong) is None


def test_the_largest_file_holds_the_event_loop_only_briefly(file: Path, clock: Clock) -> None:
    lines = "".join(f"k{number} user {hashlib.sha256(b'%d' % number).hexdigest()}\n" for number in range(13_500))
    assert 0.9 * 2**20 < len(lines) < 2**20
    keyring = Keyring(file, clock)
    file.write_text(lines)
    clock.now += CHECK_SECONDS
    start = time.thread_time()
    assert found(keyring, "13499") == "k13499"
    assert time.thread_time() - start < 1  # 0.1 s; with a comparison of each pair of keys 9 s
    start = time.thread_time()
    assert [found(keyring, str(number)) for number in range(13_500, 14_500)] == [None] * 1000
    assert time.thread_time() - start < 0.2  # 3 ms; with a comparison of each key 1.2 s


def test_a_changed_file_is_read_again_after_a_second(file: Path, clock: Clock) -> None:
    keyring = Keyring(file, clock)
    write(file, BOB)
    assert found(keyring, ALICE[0]) == "alice"
    clock.now += CHECK_SECONDS
    assert (found(keyring, ALICE[0]), found(keyring, BOB[0])) == (None, "bob")


def test_a_file_replaced_by_one_with_the_same_time_and_size_is_read_again(file: Path, clock: Clock) -> None:
    carol = new_key("carol")
    keyring, before = Keyring(file, clock), file.stat()
    other = file.with_name("other")
    write(other, carol)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (other.stat().st_mtime_ns, other.stat().st_size) == (before.st_mtime_ns, before.st_size)
    other.rename(file)
    clock.now += CHECK_SECONDS
    assert found(keyring, carol[0]) == "carol"


def test_a_file_overwritten_with_the_same_size_and_time_is_read_again(file: Path, clock: Clock) -> None:
    carol = new_key("carol")
    keyring, before = Keyring(file, clock), file.stat()
    write(file, carol)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    clock.now += CHECK_SECONDS
    assert (found(keyring, ALICE[0]), found(keyring, carol[0])) == (None, "carol")


@pytest.mark.parametrize("content", [b"", b"alice user posbake_in_the_clear\n", b"\xff\xfe", None])
def test_with_a_broken_new_file_the_old_keys_stay_valid_and_the_error_is_logged_once(
    file: Path, clock: Clock, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    keyring = Keyring(file, clock)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    for _ in range(3):
        clock.now += CHECK_SECONDS
        assert found(keyring, ALICE[0]) == "alice"
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "the old keys stay valid" in record.getMessage()
    assert "in_the_clear" not in record.getMessage()
    write(file, BOB)
    clock.now += CHECK_SECONDS
    assert (found(keyring, ALICE[0]), found(keyring, BOB[0])) == (None, "bob")


@pytest.mark.parametrize(("content", "message"), [(None, "No such file"), (b"#\n", "no key"), (b"\xff", "not UTF-8")])
def test_an_unusable_file_at_startup_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    with pytest.raises(AccessSettingError, match=f"API_KEYS_FILE .*{message}"):
        Keyring(tmp_path / "keys")


def test_a_byte_order_mark_and_crlf_are_accepted(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + line_of(ALICE[1]).encode() + b"\r\n")
    assert found(Keyring(file), ALICE[0]) == "alice"


def test_links_are_followed_as_in_mounted_kubernetes_secrets(file: Path, tmp_path: Path) -> None:
    (tmp_path / "..data").symlink_to(file.parent)
    (tmp_path / "linked").symlink_to("..data/keys")
    assert found(Keyring(tmp_path / "linked"), ALICE[0]) == "alice"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "it is a FIFO"),
        (Path.mkdir, "it is a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a character device"),
        (lambda path: path.write_bytes(b"#" * 2**21), "it has 2097152 bytes"),
    ],
)
def test_a_special_or_large_file_is_refused_without_blocking(
    file: Path, clock: Clock, make: Callable[[Path], object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    keyring = Keyring(file, clock)
    file.unlink()
    make(file)
    clock.now += CHECK_SECONDS
    assert found(keyring, ALICE[0]) == "alice"
    assert reason in caplog.text
    with pytest.raises(AccessSettingError, match=reason):
        Keyring(file)
