"""`POST /v1/embeddings`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from candle_vllm_responses import EmbeddingRequest, parse_body

from ..answering import read, whole
from ..context import Context

INLINE_INPUTS = 16
"""The embeddings of more inputs than this are written off the event loop."""


def router(context: Context) -> APIRouter:
    """The route for one server."""
    routes = APIRouter()

    @routes.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        asked = await read(context, request, lambda body: parse_body(body, EmbeddingRequest))
        adapter, count = context.manager.adapter(asked.model), len(asked.inputs)
        # Inputs beyond those that run at once wait within their request, and hold nothing but their tokens.
        seats = min(count, context.settings.max_num_seqs)
        large = count > INLINE_INPUTS
        return await whole(context, request, lambda: adapter.embeddings(asked), seats=seats, large=large)

    return routes
