"""`POST /tokenize` and `/detokenize`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from candle_vllm_responses import DetokenizeRequest, parse_body, parse_tokenize_request

from ..answering import read, whole
from ..context import Context


def router(context: Context) -> APIRouter:
    """The routes for one server."""
    routes = APIRouter()

    @routes.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        asked = await read(context, request, parse_tokenize_request)
        adapter = context.manager.adapter(asked.model)
        return await whole(context, request, lambda: adapter.tokenize(asked), seats=0)

    @routes.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        asked = await read(context, request, lambda body: parse_body(body, DetokenizeRequest))
        adapter = context.manager.adapter(asked.model)
        return await whole(context, request, lambda: adapter.detokenize(asked), seats=0)

    return routes
