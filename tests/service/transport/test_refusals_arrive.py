"""Delivery of refusals while the client is still sending: over sockets, nginx and ApacheBench."""

import re
import select
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from service.auth.keyfile import line_of, new_key
from tests.service.pictures import encode, random_pixels
from tests.service.process import Running, serving
from tests.service.transport.apps import read_to_end
from tests.service.transport.proxies import PATIENCE, Proxy, behind_nginx, require_program
from tests.service.transport.sockets import connect
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow

PNG = encode(random_pixels())
BODY, HELD = 2_000_000, 5_000_000
SECRET, KEY = new_key("alice")
RARE_SECRET, RARE_KEY = new_key("rare")
PAGE = "https://page.example"


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("server")
    rare = line_of(RARE_KEY).rstrip() + " 0.0001 1"
    (directory / "keys").write_text(f"{line_of(KEY)}\n{rare}\n")
    flags = ["--port", "0", "--repository", str(repository), "--threads", "1", "--max-header-bytes", "4096"]
    flags += ["--api-keys-file", str(directory / "keys"), "--max-held-bytes", str(HELD), "--cors-origins", PAGE]
    with serving(directory, *flags, "--request-timeout", "3") as running:
        # Uses up the key's rate limit for hours.
        httpx2.get(f"{running.url}/v1/models", headers={"X-API-Key": RARE_SECRET})
        yield running
        assert httpx2.post(f"{running.url}/v1/classify", content=PNG, headers={"X-API-Key": SECRET}).status_code == 200
    assert "Traceback" not in running.log.read_text()


def head(target: str, *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"POST {target} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


def response_to(server: Running, begin: bytes, rest: bytes) -> bytes:
    """Send `rest` after the response to `begin` has arrived, and read the response only then."""
    with connect(server) as connection:
        connection.sendall(begin)
        assert select.select([connection], [], [], PATIENCE)[0]
        connection.sendall(rest)
        connection.sendall(rest)  # a reset caused by the first would be seen by now
        return read_to_end(connection)


CLASSIFY = "/v1/classify"
REFUSED = {
    401: (CLASSIFY, ()),
    404: ("/nope", (f"X-API-Key: {SECRET}",)),
    405: ("/v1/models", (f"X-API-Key: {SECRET}",)),
    413: (CLASSIFY, (f"X-API-Key: {SECRET}", "Content-Length: 999999999")),
    415: (CLASSIFY, (f"X-API-Key: {SECRET}", "Content-Type: text/plain")),
    422: (f"{CLASSIFY}?top_k=0", (f"X-API-Key: {SECRET}",)),
    429: (CLASSIFY, (f"X-API-Key: {RARE_SECRET}",)),
}
CLOSING = {"HTTP/1.0": ("1.0", ()), "close": ("1.1", ("Connection: close",)), "both": ("1.0", ("Connection: close",))}


@pytest.mark.parametrize("closing", CLOSING)
@pytest.mark.parametrize("status", REFUSED)
def test_a_refusal_by_the_application_arrives_while_the_body_is_sent(
    server: Running, status: int, closing: str
) -> None:
    target, headers = REFUSED[status]
    version, close = CLOSING[closing]
    length = () if any(header.startswith("Content-Length") for header in headers) else (f"Content-Length: {BODY}",)
    begin = head(target, *headers, *close, *length, version=version) + bytes(65536)
    answer = response_to(server, begin, bytes((BODY - 65536) // 2))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer.lower()


def test_a_chunked_body_is_refused_in_the_same_way(server: Running) -> None:
    chunk = b"%x\r\n%s\r\n" % (100_000, bytes(100_000))
    begin = head(CLASSIFY, "Connection: close", "Transfer-Encoding: chunked") + chunk
    assert response_to(server, begin, chunk).startswith(b"HTTP/1.1 401 ")


def test_a_connection_is_closed_once_the_refused_body_has_arrived(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(head(CLASSIFY, "Connection: close", f"Content-Length: {BODY}"))
        assert read_to_end(connection).startswith(b"HTTP/1.1 401 ")
        start = time.monotonic()
        connection.sendall(bytes(BODY))
        while time.monotonic() - start < 2:  # far less than the request timeout
            try:
                connection.sendall(b"x")
            except OSError:
                return
            time.sleep(0.01)
    raise AssertionError("the connection is still open")


def test_a_client_that_never_stops_sending_is_disconnected(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(head(CLASSIFY, "Connection: close", "Transfer-Encoding: chunked"))
        chunk, start = b"%x\r\n%s\r\n" % (1000, bytes(1000)), time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011 -- a reset or a broken pipe
            while time.monotonic() - start < PATIENCE:
                connection.sendall(chunk)
                time.sleep(0.01)
        assert time.monotonic() - start >= 2


PROTOCOL = {
    400: head(CLASSIFY, "Content-Length: nonsense"),
    431: head(CLASSIFY, f"Origin: {PAGE}", f"X-Large: {'x' * 5000}"),
    408: head(CLASSIFY, f"Origin: {PAGE}", f"X-API-Key: {SECRET}", f"Content-Length: {BODY}") + b"slow",
}


@pytest.mark.parametrize("status", PROTOCOL)
def test_a_refusal_by_the_protocol_arrives_with_cors_headers(server: Running, status: int) -> None:
    answer = response_to(server, PROTOCOL[status], bytes(1_000_000))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    if status != 400:  # refused before the origin header is parsed
        assert f"access-control-allow-origin: {PAGE}".encode() in answer


def test_a_refusal_by_the_protocol_has_no_cors_headers_for_other_origins(server: Running) -> None:
    answer = response_to(server, head(CLASSIFY, "Origin: https://other.example", f"X-Large: {'x' * 5000}"), b"")
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"access-control" not in answer


def metric(server: Running, name: str) -> float:
    text = httpx2.get(f"{server.url}/metrics", headers={"X-API-Key": SECRET}).text
    return float(re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)[0])


def test_the_bodies_of_all_requests_stay_within_the_memory_budget(server: Running) -> None:
    length = HELD // 8 - 1000
    begin = head(CLASSIFY, f"X-API-Key: {SECRET}", "Connection: close", f"Content-Length: {length}")
    connections = [connect(server) for _ in range(20)]
    try:
        for connection in connections:
            connection.sendall(begin + bytes(length - 10))
        refused: list[socket.socket] = []
        end = time.monotonic() + PATIENCE
        while len(refused) < 12:
            assert time.monotonic() < end
            refused = select.select(connections, [], [], 0.1)[0]
        assert 7 * length <= metric(server, "posbake_held_bytes") <= HELD
        for connection in refused:
            answer = read_to_end(connection)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in answer
            assert b"MAX_HELD_BYTES" in answer
        assert metric(server, "posbake_held_refusals_total") >= 12
    finally:
        for connection in connections:
            connection.close()
    wait_until(lambda: metric(server, "posbake_held_bytes") == 0)


def test_a_body_larger_than_the_memory_budget_is_413(server: Running) -> None:
    answer = response_to(
        server, head(CLASSIFY, f"X-API-Key: {SECRET}", "Connection: close", f"Content-Length: {HELD + 1}"), bytes(1000)
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert f'"limit":{HELD}'.encode() in answer
    assert b"MAX_HELD_BYTES" in answer


def test_a_chunked_body_counts_against_the_budget_as_it_arrives(server: Running) -> None:
    with connect(server) as connection, connect(server) as other:
        chunk = b"%x\r\n%s\r\n" % (2_000_000, bytes(2_000_000))
        begin = head(CLASSIFY, f"X-API-Key: {SECRET}", "Connection: close", "Transfer-Encoding: chunked")
        connection.sendall(begin + chunk * 2)
        wait_until(lambda: metric(server, "posbake_held_bytes") >= 4_000_000)
        other.sendall(begin + chunk)
        assert read_to_end(other).startswith(b"HTTP/1.1 503 ")  # it would fit later
        connection.sendall(chunk)
        assert read_to_end(connection).startswith(b"HTTP/1.1 413 ")  # this one never fits


@pytest.fixture(scope="module")
def proxy(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("nginx")
    with behind_nginx(server, directory) as running:
        yield running


@pytest.mark.parametrize("mode", ["plain", "keep_alive"])
def test_behind_nginx_every_refusal_arrives_and_none_becomes_a_502(proxy: Proxy, mode: str) -> None:
    address, body = getattr(proxy, mode), bytes(3_000_000)
    headers = {"X-API-Key": SECRET, "Content-Type": "text/plain"}

    def ask(_: int) -> list[int]:
        with httpx2.Client(base_url=address, timeout=PATIENCE) as client:
            return [client.post(CLASSIFY, content=body, headers=headers).status_code for _ in range(15)]

    with ThreadPoolExecutor(4) as pool:
        statuses = Counter(status for found in pool.map(ask, range(4)) for status in found)
    assert statuses == {415: 60}


@pytest.mark.parametrize("status", [401, 404, 405, 413, 422, 429])
def test_behind_nginx_each_kind_of_refusal_arrives(proxy: Proxy, status: int) -> None:
    target, headers = REFUSED[status]
    given = dict(header.split(": ") for header in headers if not header.startswith("Content-Length"))
    size = 20_000_000 if status == 413 else 3_000_000
    found = [httpx2.post(proxy.plain + target, content=bytes(size), headers=given).status_code for _ in range(5)]
    assert found == [status] * 5


def test_behind_nginx_images_are_classified(proxy: Proxy) -> None:
    for address in (proxy.plain, proxy.keep_alive):
        assert httpx2.post(address + CLASSIFY, content=PNG, headers={"X-API-Key": SECRET}).status_code == 200


def test_the_openapi_document_names_the_prefix_that_nginx_adds(proxy: Proxy) -> None:
    assert httpx2.get(f"{proxy.plain}/ml/web/page.css").status_code == 200
    assert httpx2.get(f"{proxy.plain}/ml/openapi.json").json()["servers"] == [{"url": "/ml"}]


def test_apache_bench_receives_every_refusal(server: Running, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(bytes(3_000_000))
    command = [
        require_program("ab"),
        "-n",
        "20",
        "-p",
        str(tmp_path / "body"),
        "-T",
        "text/plain",
        "-H",
        f"X-API-Key: {SECRET}",
    ]
    ended = subprocess.run(
        [*command, server.url + CLASSIFY], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"Non-2xx responses:\s+20\b", ended.stdout)


def test_shutdown_does_not_wait_for_bytes_that_are_discarded(repository: Path, tmp_path: Path) -> None:
    with serving(tmp_path, "--port", "0", "--repository", str(repository), "--threads", "1") as running:
        lingering = connect(running)
        lingering.sendall(head("/nope", "Connection: close", f"Content-Length: {BODY}"))
        assert lingering.recv(65536).startswith(b"HTTP/1.1 404 ")
    lingering.close()
    log = running.log.read_text()
    assert "stopping" in log
    assert "timeout graceful shutdown exceeded" not in log, log
