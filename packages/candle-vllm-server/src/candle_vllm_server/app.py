"""`create_app`: settings and a way to open an engine → the FastAPI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from candle_vllm_responses import CandleVllmError, InferenceEngine

from .connection import end
from .context import Context
from .errors import reply
from .guards import Guards
from .logs import RequestLog
from .manager import ModelManager, OpenEngine
from .routes import chat, completions, embeddings, health, models, tokenization
from .settings import Settings

HANDLED = (CandleVllmError, HTTPException)


def create_app(settings: Settings | None = None, open_engine: OpenEngine = InferenceEngine.new) -> FastAPI:
    """The server as an ASGI application; it opens its engine when it starts up and closes it when it shuts down."""
    settings = settings or Settings()
    return build(Context(settings=settings, manager=ModelManager(settings, open_engine)))


def build(context: Context) -> FastAPI:
    """The application around a context that is already made."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opening = asyncio.create_task(context.manager.open())
        try:
            yield
        finally:
            await end(opening)
            await context.manager.close()

    app = FastAPI(title="candle-vllm", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    for error in HANDLED:
        app.add_exception_handler(error, _reply)
    app.add_middleware(Guards, settings=context.settings)
    app.add_middleware(RequestLog)
    for module in (chat, completions, embeddings, tokenization, models, health):
        app.include_router(module.router(context))
    return app


async def _reply(request: Request, error: Exception) -> Response:
    return reply(error)
