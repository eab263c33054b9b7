from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest

from candle_vllm_server.errors import HttpError
from candle_vllm_server.sse import DONE, KEEP_ALIVE, EventStream

QUICK_S = 0.005
NEVER_S = 3600.0


class Piece:
    def __init__(self, text: str) -> None:
        self.text = text

    def to_json(self) -> str:
        return json.dumps(self.text)


class Wire:
    """The two ends of an ASGI response, and events for what passed over it."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.body = b""
        self.whole = False
        self.gone = asyncio.Event()
        self.passed = asyncio.Condition()

    async def receive(self) -> MutableMapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        async with self.passed:
            if message["type"] == "http.response.start":
                assert self.status is None
                self.status, self.headers = message["status"], dict(message["headers"])
            else:
                assert self.status is not None and not self.whole
                self.body += message["body"]
                self.whole = not message["more_body"]
            self.passed.notify_all()

    async def shows(self, part: bytes) -> None:
        async with asyncio.timeout(20), self.passed:
            await self.passed.wait_for(lambda: part in self.body)


class Source:
    """Chunks for a stream: texts, errors, events to wait for; and whether it was closed."""

    def __init__(self, *steps: str | Exception | asyncio.Event) -> None:
        self.steps, self.closed = steps, False

    async def chunks(self) -> AsyncGenerator[Piece, None]:
        try:
            for step in self.steps:
                match step:
                    case str():
                        yield Piece(step)
                    case asyncio.Event():
                        await step.wait()
                    case Exception():
                        raise step
        finally:
            self.closed = True


async def run(source: Source, wire: Wire, keep_alive_s: float = NEVER_S, stopping: asyncio.Event | None = None) -> None:
    response = EventStream(source.chunks(), keep_alive_s=keep_alive_s, stopping=stopping or asyncio.Event())
    await response({"type": "http"}, wire.receive, wire.send)


async def test_chunks_are_events_and_done_is_the_last() -> None:
    wire, source = Wire(), Source("a", "b\nc")
    await run(source, wire)
    assert wire.body == b'data: "a"\n\ndata: "b\\nc"\n\n' + DONE
    assert (wire.status, wire.whole, source.closed) == (200, True, True)
    assert wire.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert b"content-length" not in wire.headers


async def test_an_error_before_the_first_chunk_is_raised_and_nothing_is_sent() -> None:
    wire, source = Wire(), Source(HttpError(400, "no", code="invalid_value"))
    with pytest.raises(HttpError):
        await run(source, wire)
    assert wire.status is None and source.closed


async def test_an_error_in_the_middle_is_an_event() -> None:
    wire, source = Wire(), Source("a", HttpError(503, "no more", code="engine_closed"), "b")
    await run(source, wire)
    _, event, done, rest = wire.body.split(b"\n\n")
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "engine_closed"
    assert (done + b"\n\n", rest, wire.whole) == (DONE, b"", True)


async def test_an_unforeseen_error_in_the_middle_tells_nothing_of_the_inside() -> None:
    wire = Wire()
    await run(Source("a", ZeroDivisionError("secret")), wire)
    assert b"secret" not in wire.body and b'"internal_error"' in wire.body and wire.body.endswith(DONE)


async def test_comments_keep_a_stream_alive_before_and_between_chunks() -> None:
    wire, first, second = Wire(), asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(run(Source(first, "a", second, "b"), wire, QUICK_S))
    await wire.shows(KEEP_ALIVE * 2)
    first.set()
    await wire.shows(b'data: "a"\n\n' + KEEP_ALIVE)
    second.set()
    await task
    assert wire.body.replace(KEEP_ALIVE, b"") == b'data: "a"\n\ndata: "b"\n\n' + DONE


async def test_an_error_after_a_comment_is_an_event() -> None:
    wire, held = Wire(), asyncio.Event()
    task = asyncio.create_task(run(Source(held, HttpError(400, "no", code="invalid_value")), wire, QUICK_S))
    await wire.shows(KEEP_ALIVE)
    held.set()
    await task
    assert b'"invalid_value"' in wire.body and wire.body.endswith(DONE)


@pytest.mark.parametrize("before", [(), ("a",)])
async def test_a_client_that_goes_closes_the_chunks(before: tuple[str, ...]) -> None:
    wire, source = Wire(), Source(*before, asyncio.Event())
    task = asyncio.create_task(run(source, wire))
    if before:
        await wire.shows(b'"a"')
    wire.gone.set()
    await task
    assert source.closed and not wire.whole


async def test_a_client_that_does_not_read_and_goes_closes_the_chunks() -> None:
    wire, source, sending = Wire(), Source("a", "b"), asyncio.Event()

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            sending.set()
            await asyncio.Event().wait()

    response = EventStream(chunks := source.chunks(), keep_alive_s=NEVER_S, stopping=asyncio.Event())
    task = asyncio.create_task(response({"type": "http"}, wire.receive, send))
    await sending.wait()
    wire.gone.set()
    await task
    assert source.closed and chunks.ag_frame is None


async def test_a_server_that_stops_ends_the_stream_with_an_error_and_done() -> None:
    wire, stopping, source = Wire(), asyncio.Event(), Source("a", asyncio.Event())
    task = asyncio.create_task(run(source, wire, stopping=stopping))
    await wire.shows(b'"a"')
    stopping.set()
    await task
    assert b'"server_shutdown"' in wire.body and wire.body.endswith(DONE) and wire.whole and source.closed
