"""`python -m deploy.image_test`: test of a built image as in production: requests, stops under load, failing starts.

The exit status is 0 if all checks pass, and 1 after the first failure. The repository needs the digits model, which
`make demo` exports.
"""

import argparse
import http.client
import json
import sys
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path

from deploy.bad_starts import BAD_STARTS
from deploy.engines import Container, Engine, Wanted, find_engine
from deploy.pages import load_pages

SAMPLES = Path(__file__).parents[1] / "examples" / "digits" / "samples"
VARIANT = "irpe-product-contextual-k"
WITH_CONSTANTS = "swin-table"
CLIENTS = 8
SECONDS_TO_START = 300
"""Same as LOAD_TIMEOUT."""
BEFORE_SIGTERM = 200
"""Number of responses under load before SIGTERM is sent."""
STOPPED_AFTER = (0.0, 0.5, 1.0, 2.0)
"""Seconds after process 1 installs its SIGTERM handler; before (0.1 s), the kernel ignores the signal."""
CATCHES_SIGTERM = """
import signal, sys
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
sys.exit(not int(status["SigCgt"], 16) & 1 << signal.SIGTERM - 1)
"""


def main() -> int:
    """Run the checks and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image_test", description=__doc__)
    parser.add_argument("--image", default="posbake:cpu")
    parser.add_argument("--repository", type=Path, default=Path("artifacts"), help="directory of artifacts")
    options = parser.parse_args()
    try:
        engine = find_engine(options.image)
        say(f"{options.image} in {engine.name}")
        for processes in ("1", "2"):
            serve_and_stop(engine, Wanted(options.image, options.repository, {"POSBAKE_PROCESSES": processes}))
        stop_while_starting(engine, Wanted(options.image, options.repository))
        for bad in BAD_STARTS:
            say(f"{bad.what}: {bad.run(engine, options.image, options.repository)}")
    except (AssertionError, OSError, RuntimeError) as error:
        say(f"FAILED: {error}")
        return 1
    return 0


def serve_and_stop(engine: Engine, wanted: Wanted) -> None:
    """Check health, isolation, predictions and pages, and that a stop under load loses no response."""
    started = time.monotonic()
    container = engine.start(wanted)
    try:
        while container.execute("python", "/app/deploy/health.py") != 0:
            check(time.monotonic() < started + SECONDS_TO_START, f"not ready:\n{container.log()}")
            time.sleep(0.2)
        say(f"{wanted.environment}: ready after {time.monotonic() - started:.1f} s")
        check_isolation(container)
        for sample in sorted(SAMPLES.glob("*.png")):
            status, label = classify(container.url, sample)
            check((status, label) == (200, sample.stem), f"{sample.name} was answered {status} {label}")
        say("all ten samples are classified as their digit")
        files = load_pages(container.url, "digits", WITH_CONSTANTS)
        say(f"{len(files)} files of /, /docs and {WITH_CONSTANTS} are served")
        stop_under_load(container)
    finally:
        container.remove()


def check_isolation(container: Container) -> None:
    """Check the user, the read-only root, the tmpfs, and the absence of privileges."""
    proofs = {
        "it runs as uid and gid 10001": "import os; assert os.getuid() == os.getgid() == 10001",
        "a file can be created in /tmp": "open('/tmp/file', 'w').close()",
        "it has no capabilities and cannot gain any": (
            "status = dict(line.split(':', 1) for line in open('/proc/self/status'));"
            "assert int(status['CapEff'], 16) == int(status['CapBnd'], 16) == 0 and int(status['NoNewPrivs']) == 1"
        ),
        "ONNX Runtime's telemetry is off": "import os; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'",
        **{
            f"{directory} is read-only": (
                f"import errno, os\ntry: os.mkdir('{directory}/new')\n"
                "except OSError as error: assert error.errno == errno.EROFS, error\nelse: raise AssertionError"
            )
            for directory in ("/app", "/artifacts", "/opt", "/var/tmp")  # noqa: S108
        },
    }
    for what, code in proofs.items():
        check(container.execute("python", "-c", code) == 0, f"expected: {what}")
    say("; ".join(proofs))


def stop_under_load(container: Container) -> None:
    """Send SIGTERM under load: each request must get a correct response or 503, or its connection is refused."""
    answers: Counter[str] = Counter()
    stopping, ended = threading.Event(), threading.Event()
    sample = SAMPLES / "7.png"

    def ask() -> None:
        while not ended.is_set():
            try:
                status, label = classify(container.url, sample)
            except (ConnectionError, http.client.RemoteDisconnected):
                answers["not accepted" if stopping.is_set() else "not accepted before SIGTERM"] += 1
                time.sleep(0.01)
            except (OSError, http.client.HTTPException) as error:
                answers[f"broken off: {error!r}"] += 1
            else:
                retry = status == http.HTTPStatus.SERVICE_UNAVAILABLE and stopping.is_set()
                answers["told to retry" if retry else f"{status} {label}"] += 1

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        end = time.monotonic() + SECONDS_TO_START
        while answers.total() < BEFORE_SIGTERM:
            check(time.monotonic() < end, f"only {answers.total()} responses")
            time.sleep(0.01)
        stopping.set()
        before, started = answers.total(), time.monotonic()
        container.terminate()
        status = container.wait()
    finally:
        ended.set()
        for client in clients:
            client.join()
    check(status == 0, f"exit status {status} after SIGTERM, expected 0:\n{container.log()}")
    check(set(answers) <= {"200 7", "told to retry", "not accepted"}, f"under load: {dict(answers)}")
    say(f"SIGTERM after {before} requests: exit status 0 in {time.monotonic() - started:.1f} s; {dict(answers)}")


def stop_while_starting(engine: Engine, wanted: Wanted) -> None:
    """Send SIGTERM during imports and while artifacts are loaded."""
    for delay in STOPPED_AFTER:
        container = engine.start(wanted)
        try:
            end = time.monotonic() + SECONDS_TO_START
            while container.execute("python", "-c", CATCHES_SIGTERM) != 0:
                check(time.monotonic() < end, f"SIGTERM is not caught:\n{container.log()}")
            time.sleep(delay)
            container.terminate()
            status = container.wait()
            check(status == 0, f"exit status {status} after SIGTERM during startup:\n{container.log()}")
        finally:
            container.remove()
    say(f"SIGTERM {', '.join(map(str, STOPPED_AFTER))} s after its handler is installed: exit status 0")


def classify(url: str, sample: Path) -> tuple[int, str | None]:
    """Post an image, and return the status and the label of the first prediction."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
    try:
        address = f"/v1/classify?model=digits&variant={VARIANT}"
        connection.request("POST", address, sample.read_bytes(), {"Content-Type": "image/png"})
        response = connection.getresponse()
        body = json.loads(response.read())
    finally:
        connection.close()
    return response.status, body["predictions"][0]["label"] if response.status == http.HTTPStatus.OK else None


def check(condition: bool, message: str) -> None:
    """Raise AssertionError with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def say(line: str) -> None:
    """Print a line and flush."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
