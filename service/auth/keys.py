"""`python -m service.auth.keys new NAME`: create a key. Exit status: 0 done, 1 failed, 2 usage."""

import argparse
import sys
from collections.abc import Sequence

from service.auth.keyfile import line_of, new_key
from service.auth.rate_limit import RateLimit
from service.problems.errors import AccessSettingError


def main(arguments: Sequence[str]) -> int:
    """Print a new key, which is not stored, and its line for API_KEYS_FILE."""
    parser = argparse.ArgumentParser(prog="python -m service.auth.keys", description="API keys of the service.")
    new = parser.add_subparsers(required=True, metavar="COMMAND").add_parser("new", help="create a key")
    new.add_argument("name", metavar="NAME", help="owner of the key; appears in logs")
    new.add_argument("--admin", action="store_true", help="may load and unload models")
    new.add_argument("--rate", type=float, metavar="N", help="requests per second; default: the server's RATE_LIMIT")
    new.add_argument(
        "--burst", type=int, metavar="N", help="burst after a pause, in requests; default: the requests of one second"
    )
    given = parser.parse_args(arguments)
    if given.burst is not None and given.rate is None:
        parser.error("--burst needs --rate")
    try:
        limit = None if given.rate is None else RateLimit.of(given.rate, given.burst)
        secret, key = new_key(given.name, admin=given.admin, limit=limit)
    except (AccessSettingError, ValueError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1
    print(f"key of {key.name}, shown only once:\n{secret}\n\nline for API_KEYS_FILE:\n{line_of(key)}")  # noqa: T201 -- the command's result
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
