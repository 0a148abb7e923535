"""`python -m examples.digits.demo`: serve the exported variants, and print an example request once they are ready."""

import argparse
import http.client
import signal
import socket
import subprocess
import sys
import time

EXAMPLE_REQUEST = """
Serving on {address} (API: {address}/docs). To classify a sample image, in another terminal:

curl -H 'Content-Type: image/png' --data-binary @examples/digits/samples/7.png \\
  '{address}/v1/classify?model=digits&variant=irpe-product-contextual-k'
"""


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the service and forward signals; return its exit status, or 128 + n if signal n ended it."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.demo")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--repository", default="artifacts")
    options = parser.parse_args()
    if in_use(options.port):  # otherwise the other server's readiness would be taken for this one's
        print(f"port {options.port} is in use; choose another: make demo PORT={options.port + 1}", file=sys.stderr)
        return 1
    address = f"http://127.0.0.1:{options.port}"
    command = [sys.executable, "-m", "service", "--repository", options.repository, "--port", str(options.port)]
    # A new process group, because the terminal sends Ctrl-C to its whole group, and the service would get it twice.
    with subprocess.Popen(command, process_group=0) as service:  # noqa: S603 -- a module of this project
        for number in SIGNALS:
            signal.signal(number, lambda received, _frame: service.send_signal(received))
        if wait_until_ready(options.port, service):
            print(EXAMPLE_REQUEST.format(address=address), flush=True)
        status = service.wait()
    return status if status >= 0 else 128 - status


def in_use(port: int) -> bool:
    """Return whether a server accepts connections on a port of this machine."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def wait_until_ready(port: int, service: subprocess.Popen[bytes]) -> bool:
    """Return True once the service is ready, or False if it ends first."""
    while service.poll() is None:
        if is_ready(port):
            return True
        time.sleep(0.1)
    return False


def is_ready(port: int) -> bool:
    """Return whether the service on a port is ready. http.client ignores proxy variables, unlike urllib."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
