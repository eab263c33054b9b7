"""`OpenAIAdapter`: OpenAI's chat completions on top of an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import Self

from candle_vllm_core import CandleVllmError, Engine, GenerationChunk

from .config import AdapterConfig
from .errors import ApiError, api_error
from .params import to_generation_params
from .prompt import PromptTemplate, encode
from .stream import ChunkWriter, collect
from .types.requests import ChatCompletionRequest
from .types.responses import ChatCompletionChunk, ChatCompletionResponse

INLINE_CHARS = 8192
"""Messages longer than this are rendered and tokenized off the event loop."""


class OpenAIAdapter:
    """Answers OpenAI's chat completion requests with an engine; any number at once.

    ```python
    from candle_vllm_openai import ChatCompletionRequest, Message, OpenAIAdapter, ScriptedEngine

    adapter = OpenAIAdapter(ScriptedEngine(["Hello."]))
    response = await adapter.chat_completion(ChatCompletionRequest(messages=[Message.user("Hi")]))
    assert response.choices[0].message.content == "Hello."
    ```
    """

    def __init__(self, engine: Engine, config: AdapterConfig | None = None) -> None:
        self._engine = engine
        self._config = config or AdapterConfig()

    @classmethod
    def with_config(cls, engine: Engine, config: AdapterConfig) -> Self:
        """An adapter that names its model and fills in parameters as `config` says."""
        return cls(engine, config)

    @property
    def engine(self) -> Engine:
        """The engine underneath, for whatever OpenAI's API does not have."""
        return self._engine

    async def chat_completion(self, request: ChatCompletionRequest) -> ChatCompletionResponse:
        """The whole answer: what the stream of the same request adds up to. Cancelling the call cancels the request.

        Raises:
            ApiError: the request could not be served.
        """
        async with aclosing(self._stream(request, include_usage=True)) as chunks:
            return await collect(chunks)

    def chat_completion_stream(self, request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionChunk, None]:
        """The answer in chunks, those of several choices as they come; closing the generator cancels all of them.

        The first chunk comes when the engine has begun, so an error in the request is raised before any chunk.

        Raises:
            ApiError: the request could not be served, or failed later.
        """
        return self._stream(request, include_usage=request.include_usage)

    async def _stream(
        self, request: ChatCompletionRequest, *, include_usage: bool
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        try:
            info = self._engine.model_info()
            prompt = await self._prompt(request)
            room = info.max_sequence_length - len(prompt)
            params = [
                to_generation_params(request, choice=choice, room=room, defaults=self._config)
                for choice in range(request.n)
            ]
            name = self._config.model_name or info.model_id
            writer = ChunkWriter(name, num_choices=request.n, include_usage=include_usage)
            answers = [self._engine.generate_stream(prompt, each) for each in params]
            async with aclosing(_merged(answers)) as pieces:
                async for choice, piece in pieces:
                    for chunk in writer.write(choice, piece):
                        yield chunk
            if include_usage:
                yield writer.usage()
        except CandleVllmError as error:
            raise api_error(error) from error

    async def _prompt(self, request: ChatCompletionRequest) -> list[int]:
        template, engine = self._template, self._engine
        if sum(message.num_chars for message in request.messages) <= INLINE_CHARS:
            return encode(engine, template.render(request))
        return await asyncio.to_thread(lambda: encode(engine, template.render(request)))

    @cached_property
    def _template(self) -> PromptTemplate:
        template = self._engine.chat_template
        if template is None:
            model = self._engine.model_info().model_id
            raise ApiError(
                f"the model {model} has no chat template, so it takes no messages; generate from a prompt, or open a "
                "model that was trained to chat",
                code="no_chat_template",
            )
        return PromptTemplate(template)


async def _merged(
    streams: Sequence[AsyncGenerator[GenerationChunk, None]],
) -> AsyncGenerator[tuple[int, GenerationChunk], None]:
    """What the streams give, with the place of each, as it comes; closing this closes all of them."""
    if len(streams) == 1:
        async with aclosing(streams[0]) as only:
            async for piece in only:
                yield 0, piece
        return
    arrivals: asyncio.Queue[tuple[int, GenerationChunk | BaseException | None]] = asyncio.Queue()
    tasks = [asyncio.create_task(_forward(place, stream, arrivals)) for place, stream in enumerate(streams)]
    num_open = len(tasks)
    try:
        while num_open:
            place, arrival = await arrivals.get()
            if isinstance(arrival, BaseException):
                raise arrival
            if arrival is None:
                num_open -= 1
            else:
                yield place, arrival
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(
    place: int,
    stream: AsyncGenerator[GenerationChunk, None],
    arrivals: asyncio.Queue[tuple[int, GenerationChunk | BaseException | None]],
) -> None:
    try:
        async with aclosing(stream):
            async for piece in stream:
                arrivals.put_nowait((place, piece))
        arrivals.put_nowait((place, None))
    except Exception as error:
        arrivals.put_nowait((place, error))
