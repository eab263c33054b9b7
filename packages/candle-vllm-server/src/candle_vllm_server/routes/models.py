"""`GET /v1/models` and `/v1/models/{id}`."""

from __future__ import annotations

from fastapi import APIRouter

from ..context import Context
from ..manager import ModelManager


def router(context: Context) -> APIRouter:
    """The routes for one server."""
    routes = APIRouter()

    @routes.get("/v1/models")
    async def list_models() -> dict[str, object]:
        return {"object": "list", "data": [entry(context.manager)]}

    @routes.get("/v1/models/{name:path}")
    async def retrieve_model(name: str) -> dict[str, object]:
        context.manager.check_name(name)
        return entry(context.manager)

    return routes


def entry(manager: ModelManager) -> dict[str, object]:
    """A model as OpenAI lists it, with its state and the longest sequence it takes."""
    info = manager.info
    return {
        "id": manager.model_id,
        "object": "model",
        "created": manager.created,
        "owned_by": "candle-vllm",
        "status": manager.status,
        "max_model_len": None if info is None else info.max_sequence_length,
    }
