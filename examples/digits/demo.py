"""`python -m examples.digits.demo`: serve the exported variants, and say how to ask once they can be asked."""

import argparse
import subprocess
import sys
import time
import urllib.request

HOW_TO_ASK = """
Serving on {address} (its API: {address}/docs). Post a handwritten seven from another terminal:

curl -H 'Content-Type: image/png' --data-binary @examples/digits/samples/7.png \\
  '{address}/v1/classify?model=digits&variant=irpe-product-contextual-k'
"""


def main() -> int:
    """Run the service until it ends or is interrupted; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.demo")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--repository", default="artifacts")
    options = parser.parse_args()
    address = f"http://127.0.0.1:{options.port}"
    command = [sys.executable, "-m", "service", "--repository", options.repository, "--port", str(options.port)]
    with subprocess.Popen(command) as service:  # noqa: S603 -- our own module, and numbers
        try:
            if wait_until_ready(address, service):
                print(HOW_TO_ASK.format(address=address), flush=True)
            return service.wait()
        except KeyboardInterrupt:
            return service.wait()  # the terminal has interrupted it too


def wait_until_ready(address: str, service: subprocess.Popen[bytes]) -> bool:
    """Return True once the service is ready, False if it ends before."""
    while service.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health/ready", timeout=1):  # noqa: S310 -- an http address
                return True
        except OSError:
            time.sleep(0.1)
    return False


if __name__ == "__main__":
    sys.exit(main())
