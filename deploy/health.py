"""`python health.py`: the health check of the image. Exit status 0 if the service is ready, else 1 and the reason.

It runs every few seconds, so it imports little: 0.1 s of CPU time. http.client uses no proxy from the environment.
"""

import http.client
import os
import sys

SECONDS = 4


def main() -> int:
    """Ask /health/ready on the port of POSBAKE_PORT, and return the exit status."""
    port = int(os.environ.get("POSBAKE_PORT") or 8000)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        body = response.read(1000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        print(f"port {port}: {error!r}")  # noqa: T201 -- `docker inspect` shows it
        return 1
    finally:
        connection.close()
    print(body)  # noqa: T201
    return 0 if response.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
