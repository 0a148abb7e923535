"""The middleware of Ray's proxy, over a proxy whose replicas end. `benchmarks.ray_serve` has it in Ray itself."""

import asyncio
import json

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from deploy.ray.proxy import MOST_BYTES, RepeatOnce, middlewares

PARTS = (b"first, ", b"second")


class Proxy:
    """Reads requests as Ray's proxy does; the first `ended` replicas end, others send the body back."""

    def __init__(self, ended: int, begins: bool = False) -> None:
        self.bodies: list[bytes] = []
        self._ended, self._begins = ended, begins

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
        elif self._begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})


def ask(
    inner: Proxy, path: str = "/v1/classify", parts: tuple[bytes, ...] = PARTS, leaves: bool = False
) -> list[Message]:
    """Return what a client gets that sends these parts, and then leaves or waits."""
    parts_left = [
        {"type": "http.request", "body": part, "more_body": leaves or place < len(parts)}
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


def test_ray_is_given_the_middleware() -> None:
    [(cls, arguments, keywords)] = middlewares()
    assert isinstance(cls(Proxy(ended=0), *arguments, **keywords), RepeatOnce)


def test_a_request_whose_replica_ended_is_sent_again_whole() -> None:
    inner = Proxy(ended=1)
    answer = ask(inner)
    assert inner.bodies == [b"first, second"] * 2
    assert (answer[0]["status"], answer[1]["body"]) == (200, b"first, second")


def test_an_answered_request_is_sent_once() -> None:
    inner = Proxy(ended=0)
    assert ask(inner)[0]["status"] == 200
    assert len(inner.bodies) == 1


@pytest.mark.parametrize(("path", "key"), [("/v1/classify", "detail"), ("/v2/models/digits/infer", "error")])
def test_after_the_second_replica_the_client_has_to_repeat(path: str, key: str) -> None:
    inner = Proxy(ended=9)
    answer = ask(inner, path)
    assert len(inner.bodies) == 2
    assert answer[0]["status"] == 503
    assert Headers(raw=answer[0]["headers"])["retry-after"] == "1"
    assert "send the request again" in json.loads(answer[1]["body"])[key]


def test_a_body_that_is_too_long_to_keep_is_sent_once() -> None:
    inner = Proxy(ended=9)
    parts = (bytes(MOST_BYTES), b"1")
    assert ask(inner, parts=parts)[0]["status"] == 503
    assert inner.bodies == [b"".join(parts)]


def test_a_request_whose_client_left_is_not_sent_again() -> None:
    inner = Proxy(ended=9)
    assert ask(inner, leaves=True) == []
    assert len(inner.bodies) == 1


def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    inner = Proxy(ended=9, begins=True)
    assert [message["type"] for message in ask(inner)] == ["http.response.start"]
    assert len(inner.bodies) == 1
