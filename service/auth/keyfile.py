"""File of API keys: one hashed key on each line.

    NAME ROLE SHA256 [REQUESTS_PER_SECOND [BURST]]

NAME is 1 to 64 of A-Z a-z 0-9 . _ -, and appears in logs. ROLE is `user` or `admin`. SHA256 is that of the key, in
hexadecimal. Without a rate the server's RATE_LIMIT applies; `unlimited` exempts the key. Empty lines and lines that
begin with # are skipped. A plain hash is sufficient because keys are random: 256 bits cannot be guessed like a
password.
"""

import hashlib
import math
import re
import secrets
from dataclasses import dataclass, field

from service.auth.rate_limit import RateLimit
from service.problems.errors import AccessSettingError

ROLES = ("user", "admin")
PREFIX = "posbake_"
"""Prefix of generated keys, for scanners of leaked secrets."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_UNLIMITED = "unlimited"


@dataclass(frozen=True)
class ApiKey:
    """API key as stored by the server: its hash, not its secret.

    Args:
        name: name of the owner, for logs.
        admin: whether it authorises admin routes.
        digest: SHA-256 of the key, 32 bytes.
        limit: its rate limit; None is that of the server.
    """

    name: str
    admin: bool
    digest: bytes = field(repr=False)
    limit: RateLimit | None = None


def digest_of(secret: bytes) -> bytes:
    """Return the SHA-256 of a secret."""
    return hashlib.sha256(secret).digest()


def new_key(name: str, *, admin: bool = False, limit: RateLimit | None = None) -> tuple[str, ApiKey]:
    """Create a random secret and its key.

    Raises:
        AccessSettingError: the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise AccessSettingError(f"{name!r} is not a valid name; expected 1 to 64 of A-Z a-z 0-9 . _ -")
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, ApiKey(name, admin, digest_of(secret.encode()), limit)


def line_of(key: ApiKey) -> str:
    """Return the key's line, without a line break."""
    words = [key.name, ROLES[key.admin], key.digest.hex()]
    if key.limit is not None:
        words += (
            [_UNLIMITED] if math.isinf(key.limit.per_second) else [f"{key.limit.per_second:g}", f"{key.limit.burst}"]
        )
    return " ".join(words)


def parse_keys(text: str) -> dict[bytes, ApiKey]:
    """Return the keys of a file by their digests, at least one, in order.

    Raises:
        AccessSettingError: a line is not a key, two have the same name or hash, or there is no key. The message has the
            number of the line and never quotes it, because it may contain an unhashed key.
    """
    keys: dict[bytes, ApiKey] = {}
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            key = _parse_line(words)
        except ValueError as error:
            raise AccessSettingError(f"line {number} is not a key: {error}") from None
        if key.name in names or key.digest in keys:
            raise AccessSettingError(f"line {number} repeats the name or the hash of an earlier line")
        names.add(key.name)
        keys[key.digest] = key
    if not keys:
        raise AccessSettingError("it has no key; create one: python -m service.auth.keys new NAME")
    return keys


def _parse_line(words: list[str]) -> ApiKey:
    if not 3 <= len(words) <= 5:
        raise ValueError(f"expected NAME ROLE SHA256 [RATE [BURST]], found {len(words)} words")
    name, role, digest, *limit = words
    if not _NAME.fullmatch(name):
        raise ValueError("its name must be 1 to 64 of A-Z a-z 0-9 . _ -")
    if role not in ROLES:
        raise ValueError("its role must be user or admin")
    if not _DIGEST.fullmatch(digest):
        raise ValueError("its hash must be 64 hexadecimal digits, the SHA-256 of the key")
    return ApiKey(name, role == "admin", bytes.fromhex(digest), _parse_limit(limit))


def _parse_limit(words: list[str]) -> RateLimit | None:
    if not words:
        return None
    if words == [_UNLIMITED]:
        return RateLimit.unlimited()
    try:
        rate, burst = float(words[0]), int(words[1]) if words[1:] else None
        return RateLimit.of(rate, burst)
    except ValueError:
        raise ValueError("its rate must be a number above 0, or unlimited, and its burst a whole number") from None
