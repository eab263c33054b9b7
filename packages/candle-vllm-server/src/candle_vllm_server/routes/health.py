"""`GET /health`, `/ready` and `/version`."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter

from ..context import Context
from ..errors import ServerStopping


def router(context: Context) -> APIRouter:
    """The routes for one server."""
    routes = APIRouter()

    @routes.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/ready")
    async def ready() -> dict[str, str]:
        if context.stopping.is_set():
            raise ServerStopping
        context.manager.adapter(None)
        return {"status": "ready", "model": context.manager.model_id}

    @routes.get("/version")
    async def show_version() -> dict[str, str]:
        return {"version": version("candle-vllm-server")}

    return routes
