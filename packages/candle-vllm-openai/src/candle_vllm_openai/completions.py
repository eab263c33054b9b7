"""OpenAI's text completions: many prompts, each answered `n` times; chunks, and what they add up to."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from candle_vllm_core import (
    CandleVllmError,
    ContextLengthError,
    Engine,
    FinishReason,
    GenerationChunk,
    GenerationStats,
    ModelInfo,
    TokenizationError,
)

from .completion_logprobs import logprobs_of, prompt_offsets
from .config import AdapterConfig
from .enforce import structured_constraint
from .errors import api_error
from .merging import merged
from .offload import converted
from .params import sampling_params
from .spans import num_answer_tokens
from .stream import check_ended_well
from .types.completions import Completion, CompletionChoice, CompletionLogprobs, CompletionRequest
from .types.prompts import Prompt
from .types.responses import CompletionTokensDetails, PromptTokensDetails, Usage


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt as the engine takes it, and as `echo` shows it."""

    tokens: list[int]
    text: str
    first: str
    """The text of its first token."""


async def completion_chunks(
    engine: Engine,
    request: CompletionRequest,
    config: AdapterConfig,
    *,
    include_usage: bool,
    fingerprint: str | None = None,
) -> AsyncGenerator[Completion, None]:
    """The chunks of a request's answers as they come; closing the generator cancels all of them.

    Raises:
        ApiError: the request could not be served, or failed later.
    """
    try:
        info = engine.model_info()
        prompts = await _read_prompts(engine, request, info)
        params = [
            sampling_params(
                request,
                choice=choice,
                defaults=config,
                constraint=None if (form := request.structured_outputs) is None else structured_constraint(form),
                logprobs=request.logprobs is not None,
                top_logprobs=request.logprobs or 0,
                prompt_logprobs=request.logprobs if request.echo else None,
            )
            for choice in range(request.n)
        ]
        name = config.model_name or info.model_id
        writer = CompletionWriter(request, prompts, name, include_usage=include_usage, fingerprint=fingerprint)
        answers = [engine.generate_stream(asked.tokens, each) for asked in prompts for each in params]
        async with aclosing(merged(answers)) as pieces:
            async for index, piece in pieces:
                yield writer.write(index, piece)
        if include_usage:
            yield writer.usage()
    except CandleVllmError as error:
        raise api_error(error, prompt="prompt", form=request.form_field) from error


async def _read_prompts(engine: Engine, request: CompletionRequest, info: ModelInfo) -> list[Asked]:
    """A request's prompts as token ids and as texts, all of which the engine takes."""
    prompts = request.prompts

    def read() -> list[Asked]:
        return [_asked(engine, prompt, info, request.echo) for prompt in prompts]

    return await converted(sum(map(len, prompts)), read)


def _asked(engine: Engine, prompt: Prompt, info: ModelInfo, echo: bool) -> Asked:
    tokens = engine.tokenize(prompt) if isinstance(prompt, str) else prompt
    _check(tokens, info)
    if not echo:
        return Asked(tokens, "", "")
    text = prompt if isinstance(prompt, str) else engine.detokenize(prompt, skip_special_tokens=False)
    return Asked(tokens, text, engine.detokenize(tokens[:1], skip_special_tokens=False))


def _check(tokens: list[int], info: ModelInfo) -> None:
    """See that the engine takes a prompt: an error in the last one must come before a chunk of the first."""
    if not tokens:
        raise TokenizationError("the prompt is empty; give at least one token")
    if (highest := max(tokens)) >= info.vocab_size:
        raise TokenizationError(f"the prompt has token id {highest}; the model's ids end with {info.vocab_size - 1}")
    if len(tokens) >= info.max_sequence_length:
        raise ContextLengthError(len(tokens), info.max_sequence_length)


class CompletionWriter:
    """Writes the chunks of one completion: each choice's prompt if it is echoed, its pieces and its end; the usage."""

    def __init__(
        self,
        request: CompletionRequest,
        prompts: list[Asked],
        model: str,
        *,
        include_usage: bool = False,
        fingerprint: str | None = None,
    ) -> None:
        self._id, self._created = f"cmpl-{uuid.uuid4().hex}", int(time.time())
        self._model, self._fingerprint, self._include_usage = model, fingerprint, include_usage
        self._choices = [_Choice(request, asked) for asked in prompts for _ in range(request.n)]
        self._num_answers = request.n

    def write(self, index: int, piece: GenerationChunk) -> Completion:
        """The chunk that carries what the engine gave for a choice.

        Raises:
            ApiError: the answer failed or was cancelled.
        """
        if piece.output is not None:
            check_ended_well(piece.output)
        text, logprobs, finish = self._choices[index].read(piece)
        return self._envelope([CompletionChoice(index=index, text=text, logprobs=logprobs, finish_reason=finish)], None)

    def usage(self) -> Completion:
        """The chunk that ends a stream: no choices, and the tokens of all prompts and answers."""
        n, choices = self._num_answers, self._choices
        of_prompts = [[choice.stats for choice in choices[first : first + n]] for first in range(0, len(choices), n)]
        prompt = sum(stats[0].prompt_tokens for stats in of_prompts)
        completion = sum(choice.num_generated for choice in choices)
        cached = sum(min(each.cached_tokens for each in stats) for stats in of_prompts)
        usage = Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=0),
        )
        return self._envelope([], usage)

    def _envelope(self, choices: list[CompletionChoice], usage: Usage | None) -> Completion:
        chunk = Completion(
            id=self._id,
            object="text_completion",
            created=self._created,
            model=self._model,
            system_fingerprint=self._fingerprint,
            choices=choices,
        )
        if self._include_usage:
            chunk.usage = usage
        return chunk


class _Choice:
    """One answer, being written."""

    def __init__(self, request: CompletionRequest, asked: Asked) -> None:
        self._asked, self._echo, self._silent = asked, request.echo, request.max_tokens == 0
        self._begun = False
        self._end = 0
        self.stats = GenerationStats()

    @property
    def num_generated(self) -> int:
        """Tokens of the answer."""
        return 0 if self._silent else self.stats.generated_tokens

    def read(self, piece: GenerationChunk) -> tuple[str, CompletionLogprobs | None, Literal["stop", "length"] | None]:
        """The text of a piece of it, with the log probabilities of its tokens, and why it ended."""
        parts = [*self._prompt(piece), *self._answer(piece)]
        finish: Literal["stop", "length"] | None = None
        if piece.output is not None:
            self.stats = piece.output.stats
            finish = "length" if self._silent or piece.finish_reason is FinishReason.LENGTH else "stop"
        logprobs = [found for _, found in parts if found is not None]
        return "".join(text for text, _ in parts), _joined(logprobs) if logprobs else None, finish

    def _prompt(self, piece: GenerationChunk) -> Iterator[tuple[str, CompletionLogprobs | None]]:
        """The prompt, once and first."""
        if self._begun or not self._echo:
            return
        self._begun = True
        asked, logprobs = self._asked, None
        if piece.prompt_logprobs is not None:
            tokens = [asked.first.encode(), *(entry.token_bytes for entry in piece.prompt_logprobs if entry)]
            logprobs = logprobs_of(piece.prompt_logprobs, prompt_offsets(asked.text, tokens), asked.first)
        yield asked.text, logprobs

    def _answer(self, piece: GenerationChunk) -> Iterator[tuple[str, CompletionLogprobs | None]]:
        if self._silent:
            return
        entries = (piece.logprobs or ())[: num_answer_tokens(piece, self._end)]
        starts = [len(self._asked.text) + end for end in (self._end, *piece.ends)][: len(entries)]
        self._end = piece.ends[-1] if piece.ends else self._end
        yield piece.text, logprobs_of(entries, starts) if entries else None


def _joined(parts: list[CompletionLogprobs]) -> CompletionLogprobs:
    return CompletionLogprobs(
        tokens=[token for part in parts for token in part.tokens],
        token_logprobs=[logprob for part in parts for logprob in part.token_logprobs],
        top_logprobs=[top for part in parts for top in part.top_logprobs],
        text_offset=[offset for part in parts for offset in part.text_offset],
    )


@dataclass(slots=True)
class _Gathered:
    texts: list[str] = field(default_factory=list)
    logprobs: list[CompletionLogprobs] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None


async def collect_completion(chunks: AsyncIterable[Completion]) -> Completion:
    """The completion that a stream adds up to; the stream must carry usage.

    Raises:
        ValueError: the stream ended without a chunk of usage.
    """
    choices: dict[int, _Gathered] = {}
    last: Completion | None = None
    async for chunk in chunks:
        last = chunk
        for piece in chunk.choices:
            choice = choices.setdefault(piece.index, _Gathered())
            choice.texts.append(piece.text)
            choice.logprobs += [piece.logprobs] if piece.logprobs is not None else []
            choice.finish = piece.finish_reason or choice.finish
    if last is None or last.usage is None:
        raise ValueError("the stream has not ended with a chunk of usage; ask for it with stream_options")
    return last.model_copy(update={"choices": [_whole(index, one) for index, one in sorted(choices.items())]})


def _whole(index: int, choice: _Gathered) -> CompletionChoice:
    if choice.finish is None:
        raise ValueError(f"the stream ended before choice {index} did")
    logprobs = _joined(choice.logprobs) if choice.logprobs else None
    return CompletionChoice(index=index, text="".join(choice.texts), logprobs=logprobs, finish_reason=choice.finish)
