"""`POST /v1/chat/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from starlette.responses import Response

from candle_vllm_responses import ChatCompletionChunk, ChatCompletionRequest, OpenAIAdapter, parse_request

from ..body import read_json
from ..connection import while_connected, while_running
from ..context import Context
from ..sse import EventStream

INLINE_BYTES = 64 * 1024
"""Bodies longer than this are parsed off the event loop."""


def router(context: Context) -> APIRouter:
    """The route for one server."""
    routes = APIRouter()

    @routes.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        completion = await _parsed(await while_running(read_json(request), context.stopping))
        adapter = context.manager.adapter(completion.model)
        if completion.stream:
            keep_alive_s = context.settings.keep_alive_interval / 1000
            chunks = _chunks(context, adapter, completion)
            return EventStream(chunks, keep_alive_s=keep_alive_s, stopping=context.stopping)
        work = _whole(context, adapter, completion)
        body = await while_connected(work, request.receive, context.stopping)
        return Response(body, media_type="application/json")

    return routes


async def _parsed(body: bytes) -> ChatCompletionRequest:
    if len(body) <= INLINE_BYTES:
        return parse_request(body)
    return await asyncio.to_thread(parse_request, body)


async def _whole(context: Context, adapter: OpenAIAdapter, completion: ChatCompletionRequest) -> str:
    with context.manager.seats(completion.n or 1):
        return (await adapter.chat_completion(completion)).to_json()


async def _chunks(
    context: Context, adapter: OpenAIAdapter, completion: ChatCompletionRequest
) -> AsyncGenerator[ChatCompletionChunk, None]:
    with context.manager.seats(completion.n or 1):
        async with aclosing(adapter.chat_completion_stream(completion)) as chunks:
            async for chunk in chunks:
                yield chunk
