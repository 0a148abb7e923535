"""`python health.py`: health check of the image; exit status 0 if the service is ready, else 1 with the reason.

The check runs every few seconds, so imports are few: 0.1 s of CPU time. http.client ignores proxy variables.
"""

import http.client
import os
import sys

SECONDS = 4

_EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- no address is bound here
"""Address to connect to for each that means every interface."""


def main() -> int:
    """Request /health/ready on POSBAKE_HOST and POSBAKE_PORT, and return the exit status."""
    host = os.environ.get("POSBAKE_HOST") or "127.0.0.1"
    port = int(os.environ.get("POSBAKE_PORT") or 8000)
    connection = http.client.HTTPConnection(_EVERY.get(host, host), port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        body = response.read(1000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        print(f"port {port}: {error!r}")  # noqa: T201 -- shown by `docker inspect`
        return 1
    finally:
        connection.close()
    print(body)  # noqa: T201
    return 0 if response.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
