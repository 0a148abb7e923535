"""`python -m benchmarks.probe PORT`: latency of `/health/live`, requested repeatedly until stdin is closed.

Runs as a separate process with high priority, to measure the server's event loop and not the load generator. Prints
one JSON object: count, failed, and p50, p99, p999 and max in ms.
"""

import http.client
import json
import os
import sys
import threading
import time

PAUSE = 0.02  # seconds between two requests
PATIENCE = 30.0  # seconds


def main() -> int:
    """Probe until end of stdin, and print the figures."""
    port = int(sys.argv[1])
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        os.nice(-10)
    ended = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    took: list[float] = []
    failed = 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    while not ended.wait(PAUSE):
        began = time.perf_counter()
        try:
            connection.request("GET", "/health/live")
            answer = connection.getresponse()
            answer.read()
            failed += answer.status != 200
        except http.client.RemoteDisconnected:  # the server may close an idle connection
            connection.close()
            continue
        except OSError:
            connection.close()
            failed += 1
            continue
        took.append(1000 * (time.perf_counter() - began))
    took.sort()
    at = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    figures = {name: round(took[min(len(took) - 1, int(part * len(took)))], 1) for name, part in at.items()}
    print(json.dumps({"count": len(took), "failed": failed, **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
