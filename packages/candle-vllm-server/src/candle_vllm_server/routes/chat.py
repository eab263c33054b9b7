"""`POST /v1/chat/completions`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from candle_vllm_responses import parse_request

from ..answering import read, streamed, whole
from ..context import Context


def router(context: Context) -> APIRouter:
    """The route for one server."""
    routes = APIRouter()

    @routes.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        asked = await read(context, request, parse_request)
        adapter = context.manager.adapter(asked.model)
        if asked.stream:
            return streamed(context, lambda: adapter.chat_completion_stream(asked), seats=asked.n)
        return await whole(context, request, lambda: adapter.chat_completion(asked), seats=asked.n)

    return routes
