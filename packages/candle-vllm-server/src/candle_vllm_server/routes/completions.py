"""`POST /v1/completions`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from candle_vllm_responses import CompletionRequest, parse_body

from ..answering import read, streamed, whole
from ..context import Context


def router(context: Context) -> APIRouter:
    """The route for one server."""
    routes = APIRouter()

    @routes.post("/v1/completions")
    async def completions(request: Request) -> Response:
        asked = await read(context, request, lambda body: parse_body(body, CompletionRequest))
        adapter, seats = context.manager.adapter(asked.model), len(asked.prompts) * asked.n
        if asked.stream:
            return streamed(context, lambda: adapter.completion_stream(asked), seats=seats)
        return await whole(context, request, lambda: adapter.completion(asked), seats=seats)

    return routes
