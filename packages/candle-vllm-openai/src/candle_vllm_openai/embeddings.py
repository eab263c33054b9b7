"""OpenAI's embeddings on top of an engine."""

from __future__ import annotations

import asyncio
import base64
import sys
from array import array

from candle_vllm_core import CandleVllmError, Embedding, EmbeddingParams, Engine

from .config import AdapterConfig
from .errors import api_error
from .offload import converted
from .types.embeddings import EmbeddingData, EmbeddingRequest, EmbeddingResponse, EmbeddingUsage

INLINE_NUMBERS = 65_536
"""More numbers than this are written off the event loop."""


async def embed(engine: Engine, request: EmbeddingRequest, config: AdapterConfig) -> EmbeddingResponse:
    """The embeddings of a request's inputs; cancelling the call cancels them.

    Raises:
        ApiError: the request could not be served.
    """
    try:
        prompts = await _read(engine, request)
        params = EmbeddingParams(
            pooling=request.pooling,
            dimensions=request.dimensions,
            priority=request.priority,
            cache_salt=request.cache_salt,
        )
        found = await engine.embed(prompts, params)
    except CandleVllmError as error:
        raise api_error(error, prompt="input") from error
    name = config.model_name or engine.model_info().model_id
    if sum(len(each.values) for each in found) <= INLINE_NUMBERS:
        return _response(found, request, name)
    return await asyncio.to_thread(_response, found, request, name)


async def _read(engine: Engine, request: EmbeddingRequest) -> list[list[int]]:
    inputs = request.inputs

    def read() -> list[list[int]]:
        return [engine.tokenize(each) if isinstance(each, str) else each for each in inputs]

    return await converted(sum(map(len, inputs)), read)


def _response(found: list[Embedding], request: EmbeddingRequest, model: str) -> EmbeddingResponse:
    write = _base64 if request.encoding_format == "base64" else list[float]
    data = [
        EmbeddingData(object="embedding", index=index, embedding=write(each.values)) for index, each in enumerate(found)
    ]
    tokens = sum(each.prompt_tokens for each in found)
    usage = EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
    return EmbeddingResponse(object="list", data=data, model=model, usage=usage)


def _base64(values: array[float]) -> str:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return base64.b64encode(values.tobytes()).decode()
