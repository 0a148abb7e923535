"""Middleware of Ray's proxy, with a fake proxy whose replicas end. `benchmarks.ray_serve` tests it in Ray itself."""

import asyncio
import json

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from deploy.ray.proxy import MOST_BYTES, RepeatOnce, middlewares

PARTS = (b"first, ", b"second")


class Proxy:
    """Fake proxy that reads requests like Ray's; the first `ended` replicas end, others return the body."""

    def __init__(self, ended: int, starts_response: bool = False) -> None:
        self.bodies: list[bytes] = []
        self._ended, self._starts_response = ended, starts_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert [name for name, _ in scope["headers"]] == [b"x-request-id"]
        scope["headers"].append((b"added", b"by Ray"))
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        if len(self.bodies) > self._ended:
            await PlainTextResponse(body)(scope, receive, send)
        elif self._starts_response:
            await send({"type": "http.response.start", "status": 200, "headers": []})


def post(
    inner: Proxy, path: str = "/v1/classify", parts: tuple[bytes, ...] = PARTS, disconnects: bool = False
) -> list[Message]:
    """Return the messages received by a client that sends these parts, and then disconnects or waits."""
    parts_left = [
        {"type": "http.request", "body": part, "more_body": disconnects or place < len(parts)}
        for place, part in enumerate(parts, 1)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return parts_left.pop(0) if parts_left else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"x-request-id", b"client")]}
    asyncio.run(RepeatOnce(inner)(scope, receive, send))
    return sent


def test_the_middleware_is_passed_to_ray() -> None:
    [(cls, arguments, keywords)] = middlewares()
    assert isinstance(cls(Proxy(ended=0), *arguments, **keywords), RepeatOnce)


def test_a_request_whose_replica_ended_is_repeated_completely() -> None:
    inner = Proxy(ended=1)
    answer = post(inner)
    assert inner.bodies == [b"first, second"] * 2
    assert (answer[0]["status"], answer[1]["body"]) == (200, b"first, second")


def test_a_completed_request_is_sent_once() -> None:
    inner = Proxy(ended=0)
    assert post(inner)[0]["status"] == 200
    assert len(inner.bodies) == 1


@pytest.mark.parametrize(("path", "key"), [("/v1/classify", "detail"), ("/v2/models/digits/infer", "error")])
def test_after_the_second_replica_the_response_is_503_with_retry_after(path: str, key: str) -> None:
    inner = Proxy(ended=9)
    answer = post(inner, path)
    assert len(inner.bodies) == 2
    assert answer[0]["status"] == 503
    assert Headers(raw=answer[0]["headers"])["retry-after"] == "1"
    assert "send the request again" in json.loads(answer[1]["body"])[key]


def test_a_request_with_a_large_body_is_not_repeated() -> None:
    inner = Proxy(ended=9)
    parts = (bytes(MOST_BYTES), b"1")
    assert post(inner, parts=parts)[0]["status"] == 503
    assert inner.bodies == [b"".join(parts)]


def test_a_request_whose_client_disconnected_is_not_repeated() -> None:
    inner = Proxy(ended=9)
    assert post(inner, disconnects=True) == []
    assert len(inner.bodies) == 1


def test_a_request_whose_response_has_started_is_not_repeated() -> None:
    inner = Proxy(ended=9, starts_response=True)
    assert [message["type"] for message in post(inner)] == ["http.response.start"]
    assert len(inner.bodies) == 1
