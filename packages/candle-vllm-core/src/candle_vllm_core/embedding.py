"""How an embedding is asked of the engine's thread, and how it comes back. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from .detokenizer import TextStream
from .errors import CancelledError, GenerationError, ParameterError
from .runtime.pool import Pool
from .runtime.request import Request
from .types import Embedding, EmbeddingParams, FinishReason, GenerationChunk, GenerationParams, ModelInfo

if TYPE_CHECKING:
    from .runtime.loop import EngineLoop


def check_dimensions(params: EmbeddingParams, info: ModelInfo) -> None:
    """See that a model has as many dimensions as are asked for.

    Raises:
        ParameterError: it has fewer.
    """
    if params.dimensions is not None and params.dimensions > info.hidden_size:
        raise ParameterError("dimensions", params.dimensions, f"an integer from 1 to {info.hidden_size}")


def embedding_request(
    number: int, tokens: list[int], params: EmbeddingParams, loop: EngineLoop, done: Callable[[], None]
) -> tuple[Request, Future[Embedding]]:
    """A request that ends with an embedding, and what it will be; `done` is called when it ends."""
    future: Future[Embedding] = Future()
    future.set_running_or_notify_cancel()  # whoever waits may go, but the engine settles it all the same
    pool = Pool.of(params.pooling or loop.model_info.pooling, len(tokens), params.dimensions)

    def sink(chunk: GenerationChunk) -> None:
        done()
        settle(future, pool, chunk)

    request = Request(
        id=number,
        prompt=tokens,
        params=GenerationParams(priority=params.priority, cache_salt=params.cache_salt),
        seed=0,
        limits=loop.limits,
        stream=TextStream(loop.tokenizer.decode),
        sink=sink,
        pool=pool,
    )
    return request, future


def settle(future: Future[Embedding], pool: Pool, chunk: GenerationChunk) -> None:
    """Give a future what became of a request that has ended."""
    output = chunk.output
    if output is not None and output.finish_reason is FinishReason.CANCELLED:
        future.set_exception(CancelledError("the embedding was cancelled before it was made"))
    elif output is None or output.error is not None or pool.values is None:
        reason = "it ended without a vector" if output is None or output.error is None else output.error
        future.set_exception(GenerationError(f"an embedding failed: {reason}"))
    else:
        cached = output.stats.cached_tokens
        found = Embedding(values=pool.values, prompt_tokens=output.stats.prompt_tokens, cached_tokens=cached)
        future.set_result(found)
