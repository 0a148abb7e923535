"""Key file, and the command that creates its lines."""

import hashlib
import math
import subprocess
import sys

import pytest

from service.auth.keyfile import ApiKey, line_of, new_key, parse_keys
from service.auth.rate_limit import RateLimit
from service.problems.errors import AccessSettingError

HASH, OTHER = hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest()


def test_a_key_file_is_parsed_as_documented() -> None:
    text = f"# who\n\nalice user {HASH}\n  bob.2 admin {OTHER.upper()} 1.5 7  \n"
    assert tuple(parse_keys(text).values()) == (
        ApiKey("alice", admin=False, digest=bytes.fromhex(HASH)),
        ApiKey("bob.2", admin=True, digest=bytes.fromhex(OTHER), limit=RateLimit(1.5, 7)),
    )


@pytest.mark.parametrize(
    ("rate", "limit"),
    [
        ("2", RateLimit(2, 2)),
        ("0.1", RateLimit(0.1, 1)),
        ("2.5", RateLimit(2.5, 3)),
        ("unlimited", RateLimit(math.inf, 1)),
    ],
)
def test_the_default_burst_is_one_second_of_requests(rate: str, limit: RateLimit) -> None:
    assert parse_keys(f"a user {HASH} {rate}")[bytes.fromhex(HASH)].limit == limit


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("alice", "1 words"),
        (f"alice user {HASH} 1 2 3", "6 words"),
        (f"a/b user {HASH}", "name must"),
        (f"{'a' * 65} user {HASH}", "name must"),
        (f"alice root {HASH}", "role must be user or admin"),
        (f"alice user {HASH[1:]}", "64 hexadecimal digits"),
        ("alice user a-key-in-the-clear", "64 hexadecimal digits"),
        (f"alice user {HASH} fast", "rate must"),
        (f"alice user {HASH} 0", "rate must"),
        (f"alice user {HASH} nan", "rate must"),
        (f"alice user {HASH} inf", "rate must"),
        (f"alice user {HASH} 1 0", "burst"),
        (f"alice user {HASH} unlimited 3", "rate must"),
        (f"first user {OTHER}", "repeats the name or the hash"),
        (f"other user {hashlib.sha256(b'first').hexdigest()}", "repeats the name or the hash"),
    ],
)
def test_an_invalid_line_is_refused_by_number_without_its_text(line: str, message: str) -> None:
    first = f"first user {hashlib.sha256(b'first').hexdigest()}\n"
    parse_keys(first)
    with pytest.raises(AccessSettingError, match=r"^line 2 ") as refused:
        parse_keys(first + line)
    assert message in str(refused.value)
    assert "clear" not in str(refused.value)


def test_a_file_without_keys_is_an_error_that_names_the_command() -> None:
    with pytest.raises(AccessSettingError, match=r"no key; .*service\.auth\.keys new"):
        parse_keys("# none yet\n")


@pytest.mark.parametrize("limit", [None, RateLimit(0.25, 3), RateLimit.unlimited()])
def test_a_written_line_is_parsed_as_the_same_key(limit: RateLimit | None) -> None:
    secret, key = new_key("alice", admin=True, limit=limit)
    assert parse_keys(line_of(key)) == {key.digest: key}
    assert key.digest == hashlib.sha256(secret.encode()).digest()
    assert secret not in line_of(key) + repr(key)


def command(*arguments: str, module: str = "service.auth.keys") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)


def test_the_former_module_path_of_the_command_still_works() -> None:
    ended = command("new", "alice", module="service.access.keys")
    assert ended.returncode == 0
    (key,) = parse_keys(ended.stdout.splitlines()[-1]).values()
    assert key.name == "alice"


def test_the_command_prints_a_new_key_and_its_line() -> None:
    ended = [command("new", "alice", "--admin", "--rate", "2", "--burst", "9") for _ in range(2)]
    secrets = []
    for end in ended:
        assert (end.returncode, end.stderr) == (0, "")
        _, secret, _, _, line = end.stdout.splitlines()
        assert len(secret) > 43  # 256 bits in base64, and the prefix
        assert line == f"alice admin {hashlib.sha256(secret.encode()).hexdigest()} 2 9"
        secrets.append(secret)
    assert secrets[0] != secrets[1]


def test_the_command_refuses_invalid_arguments() -> None:
    for arguments, status in ((["new", "a b"], 1), (["new", "a", "--rate", "0"], 1), (["new", "a", "--burst", "1"], 2)):
        ended = command(*arguments)
        assert ended.returncode == status
        assert ended.stdout == ""
        assert "Traceback" not in ended.stderr
