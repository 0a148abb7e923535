"""Files that a browser loads from a running service: pages, their resources, and images of a variant."""

import http.client
import json
import re
import urllib.parse

PAGES = ("/", "/docs")


def load_pages(url: str, model: str, variant: str) -> dict[str, bytes]:
    """Return the content of every file linked from the pages and a variant's description, by URL.

    Raises:
        AssertionError: a file is missing or empty.
    """
    description = f"/v1/models/{model}/variants/{variant}"
    waiting = [*PAGES, description]
    found: dict[str, bytes] = {}
    while waiting:
        address = waiting.pop()
        found[address] = _get(url, address)
        if address in PAGES:
            links = re.findall(r'(?:href|src)="(?!data:)([^":]+)"', found[address].decode())
            waiting += {urllib.parse.urljoin(address, link) for link in links} - {*found, *waiting}
        elif address == description:
            facts = json.loads(found[address])["versions"][-1]
            waiting += [f"{description}/samples/{name}" for name in facts["samples"]]
            waiting += [f"{description}/baked/{line['name']}" for line in facts["constants"]["lines"]]
    return found


def _get(url: str, address: str) -> bytes:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
    try:
        connection.request("GET", address)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK or not body:
        raise AssertionError(f"GET {address}: status {answer.status}, {len(body)} bytes")
    return body
