"""`OpenAIAdapter`: OpenAI's chat completions on top of an engine."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from typing import Self

from candle_vllm_core import CandleVllmError, ChatTemplate, Constraint, Engine

from .completions import collect_completion, completion_chunks
from .config import AdapterConfig
from .detect import AUTO
from .embeddings import embed
from .enforce import refusal_of
from .errors import ApiError, api_error
from .fields import FIELDS, Endpoint, Field
from .formats.generic import JSON
from .merging import merged
from .offload import converted
from .params import to_generation_params
from .prompt import PromptTemplate, encode, prompt_pieces
from .reading import PROMPT_END_CHARS, AnswerReader
from .stream import ChunkWriter, collect
from .tokenization import detokenize, tokenize_text, tokenized
from .types.completions import Completion, CompletionRequest
from .types.embeddings import EmbeddingRequest, EmbeddingResponse
from .types.requests import ChatCompletionRequest
from .types.responses import ChatCompletionChunk, ChatCompletionResponse
from .types.tokenization import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeChatRequest,
    TokenizeResponse,
    TokenizeTextRequest,
)


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
        self._template: PromptTemplate | None = None
        self._making = threading.Lock()

    @classmethod
    def with_config(cls, engine: Engine, config: AdapterConfig) -> Self:
        """An adapter that names its model and fills in parameters as `config` says."""
        return cls(engine, config)

    @property
    def engine(self) -> Engine:
        """The engine underneath, for whatever OpenAI's API does not have."""
        return self._engine

    def capabilities(self) -> Mapping[Endpoint, Mapping[str, Field]]:
        """What becomes of each field of a request, by endpoint and by path: honoured, refused, or a no-op."""
        return FIELDS

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

    async def completion(self, request: CompletionRequest) -> Completion:
        """All answers to a request's prompts: what the stream of the same request adds up to.

        Raises:
            ApiError: the request could not be served.
        """
        async with aclosing(self._completion_chunks(request, include_usage=True)) as chunks:
            return await collect_completion(chunks)

    def completion_stream(self, request: CompletionRequest) -> AsyncGenerator[Completion, None]:
        """The answers to a request's prompts in chunks, as they come; closing the generator cancels all of them.

        Raises:
            ApiError: the request could not be served, or failed later.
        """
        return self._completion_chunks(request, include_usage=request.include_usage)

    async def embeddings(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """The embeddings of a request's inputs.

        Raises:
            ApiError: the request could not be served.
        """
        return await embed(self._engine, request, self._config)

    async def tokenize(self, request: TokenizeTextRequest | TokenizeChatRequest) -> TokenizeResponse:
        """The token ids of a text, or of the prompt that a conversation makes.

        Raises:
            ApiError: the conversation cannot be rendered.
        """
        if isinstance(request, TokenizeTextRequest):
            return await tokenize_text(self._engine, request)
        tokens, _ = await self._prompt(request)
        return tokenized(self._engine, tokens, request.return_token_strs)

    async def detokenize(self, request: DetokenizeRequest) -> DetokenizeResponse:
        """The text of token ids.

        Raises:
            ApiError: an id is not in the vocabulary.
        """
        return await detokenize(self._engine, request)

    def _completion_chunks(
        self, request: CompletionRequest, *, include_usage: bool
    ) -> AsyncGenerator[Completion, None]:
        fingerprint = self._fingerprint_with()
        return completion_chunks(
            self._engine, request, self._config, include_usage=include_usage, fingerprint=fingerprint
        )

    async def _stream(
        self, request: ChatCompletionRequest, *, include_usage: bool
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        constraint: Constraint | None = None
        try:
            info = self._engine.model_info()
            prompt, prompt_end = await self._prompt(request)
            reading = self._reader.reading(request, prompt_end)
            constraint, room = reading.constraint, info.max_sequence_length - len(prompt)
            params = [
                to_generation_params(
                    request,
                    choice=choice,
                    room=room,
                    defaults=self._config,
                    constraint=constraint,
                    shown_special_ids=reading.shown_ids,
                )
                for choice in range(request.n)
            ]
            writer = ChunkWriter(
                self._config.model_name or info.model_id,
                num_choices=request.n,
                include_usage=include_usage,
                grammar=reading.grammar,
                counts=request.logprobs or reading.reasons,
                fingerprint=self._fingerprint,
            )
            answers = [self._engine.generate_stream(prompt, each) for each in params]
            async with aclosing(merged(answers)) as pieces:
                async for choice, piece in pieces:
                    for chunk in writer.write(choice, piece):
                        yield chunk
            if include_usage:
                yield writer.usage()
        except CandleVllmError as error:
            raise api_error(refusal_of(error, constraint), form=request.form_field) from error

    async def _prompt(self, request: ChatCompletionRequest) -> tuple[list[int], str]:
        """The prompt's token ids, and the end of its text."""
        template = self._template
        if template is None:
            template = await asyncio.to_thread(self._made_template)
        pieces = await prompt_pieces(template, request)
        end = "".join(piece.text for piece in pieces[-2:])[-PROMPT_END_CHARS:]
        return await converted(request.num_chars, lambda: encode(self._engine, pieces)), end

    def _made_template(self) -> PromptTemplate:
        with self._making:
            if self._template is None:
                may_ask_for_json = self._config.parser in (AUTO, JSON.name)
                self._template = PromptTemplate(self._chat_template, may_ask_for_json=may_ask_for_json)
            return self._template

    @cached_property
    def _fingerprint(self) -> str:
        """That of chat answers, which depend on the template too."""
        return self._fingerprint_with(self._chat_template.source, self._chat_template.tool_source or "")

    def _fingerprint_with(self, *more: str) -> str:
        """Stands for all of ours that an answer with a seed depends on: model, version, device, and what else."""
        info = self._engine.model_info()
        parts = [version("candle-vllm-core"), info.fingerprint, info.device, *more]
        return f"fp_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"

    @cached_property
    def _reader(self) -> AnswerReader:
        config, template = self._config, self._chat_template
        if config.parser == AUTO and self._made_template().asks_for_json:
            config = replace(config, parser=JSON.name)
        return AnswerReader(self._engine, config, template.source + (template.tool_source or ""))

    @cached_property
    def _chat_template(self) -> ChatTemplate:
        own, given, info = self._engine.chat_template, self._config.read_chat_template(), self._engine.model_info()
        if given is not None:
            own = own or ChatTemplate(source=given, special_tokens=info.special_tokens)
            return replace(own, source=given, tool_source=None)
        if own is None:
            raise ApiError(
                f"the model {info.model_id} has no chat template, so it takes no messages; generate from a prompt, "
                "open a model that was trained to chat, or give a template with chat_template",
                code="no_chat_template",
            )
        return own
