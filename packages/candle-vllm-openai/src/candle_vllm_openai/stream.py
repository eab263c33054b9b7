"""What the engine gives → OpenAI's chunks; chunks → a whole response."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterable, Iterator, Sequence
from dataclasses import dataclass, field

from candle_vllm_core import FinishReason, GenerationChunk, GenerationOutput, GenerationStats, TokenLogprob

from .errors import SERVER, ApiError
from .types.responses import (
    ChatChoice,
    ChatCompletionChunk,
    ChatCompletionResponse,
    ChatLogprob,
    ChoiceDelta,
    ChoiceLogprobs,
    ChunkChoice,
    FinishWord,
    PromptTokensDetails,
    ResponseMessage,
    TopLogprob,
    Usage,
)
from .types.tools import FunctionCall, FunctionCallDelta, ToolCall, ToolCallDelta

_FINISH_WORDS: dict[FinishReason, FinishWord] = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
}


class ChunkWriter:
    """Writes the chunks of one completion: each choice's role, then pieces and ends as they come, then the usage."""

    def __init__(self, model: str, *, num_choices: int = 1, include_usage: bool = False) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model
        self.include_usage = include_usage
        self._num_choices = num_choices
        self._begun = False
        self._stats: list[GenerationStats] = []

    def write(self, index: int, piece: GenerationChunk) -> Iterator[ChatCompletionChunk]:
        """The chunks that carry what the engine gave for choice `index`.

        Raises:
            ApiError: the answer failed or was cancelled.
        """
        if piece.output is not None:
            _check_ended_well(piece.output)
        if not self._begun:
            self._begun = True
            # All roles come first and in order: the official client counts on meeting choice 0 before the others.
            for place in range(self._num_choices):
                yield self._chunk(place, ChoiceDelta(role="assistant", content=""))
        logprobs = _logprobs(piece)
        if piece.text or logprobs is not None:
            yield self._chunk(index, ChoiceDelta(content=piece.text), logprobs)
        if piece.output is not None:
            self._stats.append(piece.output.stats)
            yield self._chunk(index, ChoiceDelta(), finish=_FINISH_WORDS[piece.output.finish_reason])

    def usage(self) -> ChatCompletionChunk:
        """The chunk that ends a stream: no choices, and the tokens of all of them."""
        prompt = max(stats.prompt_tokens for stats in self._stats)
        completion = sum(stats.generated_tokens for stats in self._stats)
        cached = PromptTokensDetails(cached_tokens=min(stats.cached_tokens for stats in self._stats))
        return self._envelope(
            [],
            Usage(
                prompt_tokens=prompt,
                completion_tokens=completion,
                total_tokens=prompt + completion,
                prompt_tokens_details=cached,
            ),
        )

    def _chunk(
        self, index: int, delta: ChoiceDelta, logprobs: ChoiceLogprobs | None = None, finish: FinishWord | None = None
    ) -> ChatCompletionChunk:
        return self._envelope([ChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=finish)], None)

    def _envelope(self, choices: list[ChunkChoice], usage: Usage | None) -> ChatCompletionChunk:
        chunk = ChatCompletionChunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self.created,
            model=self.model,
            system_fingerprint=None,
            choices=choices,
        )
        if self.include_usage:
            chunk.usage = usage
        return chunk


@dataclass(slots=True)
class _Choice:
    content: list[str] = field(default_factory=list)
    logprobs: list[ChatLogprob] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    finish: FinishWord | None = None


class Collector:
    """Adds the chunks of a stream up to the response that it streams."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._last: ChatCompletionChunk | None = None

    def add(self, chunk: ChatCompletionChunk) -> None:
        """Take the next chunk."""
        self._last = chunk
        for piece in chunk.choices:
            choice = self._choices.setdefault(piece.index, _Choice())
            choice.content.append(piece.delta.content or "")
            choice.logprobs += (piece.logprobs.content if piece.logprobs is not None else None) or []
            choice.finish = piece.finish_reason or choice.finish
            for delta in piece.delta.tool_calls or ():
                choice.tool_calls = merge_tool_call_delta(choice.tool_calls, delta)

    def response(self) -> ChatCompletionResponse:
        """The whole response.

        Raises:
            ValueError: the stream has not ended, or it carried no usage.
        """
        if self._last is None or self._last.usage is None:
            raise ValueError("the stream has not ended with a chunk of usage; ask for it with stream_options")
        return ChatCompletionResponse(
            id=self._last.id,
            object="chat.completion",
            created=self._last.created,
            model=self._last.model,
            system_fingerprint=self._last.system_fingerprint,
            choices=[_whole(index, choice) for index, choice in sorted(self._choices.items())],
            usage=self._last.usage,
        )


async def collect(chunks: AsyncIterable[ChatCompletionChunk]) -> ChatCompletionResponse:
    """The response that a stream adds up to; the stream must carry usage.

    Raises:
        ValueError: the stream ended without a chunk of usage.
    """
    collector = Collector()
    async for chunk in chunks:
        collector.add(chunk)
    return collector.response()


def to_chat_response(output: GenerationOutput, *, model: str = "default") -> ChatCompletionResponse:
    """An engine's answer as a chat completion with one choice.

    Raises:
        ApiError: the answer failed or was cancelled.
    """
    writer, collector = ChunkWriter(model, include_usage=True), Collector()
    piece = GenerationChunk(
        tokens=output.tokens,
        text=output.text,
        logprobs=output.logprobs,
        finish_reason=output.finish_reason,
        output=output,
    )
    for chunk in [*writer.write(0, piece), writer.usage()]:
        collector.add(chunk)
    return collector.response()


def merge_tool_call_delta(calls: Sequence[ToolCall], delta: ToolCallDelta) -> list[ToolCall]:
    """The tool calls so far, with one more piece of a stream added to the call at its index.

    Nothing is changed in place: go on with what it returns.

    Raises:
        ValueError: the piece leaves out a call, or begins one without id and name.
    """
    function = delta.function or FunctionCallDelta()
    if delta.index < 0 or delta.index > len(calls):
        raise ValueError(f"a piece of tool call {delta.index} came after {len(calls)} calls; indices count up from 0")
    if delta.index < len(calls):
        begun = calls[delta.index]
        longer = begun.function.model_copy(update={"arguments": begun.function.arguments + (function.arguments or "")})
        return [*calls[: delta.index], begun.model_copy(update={"function": longer}), *calls[delta.index + 1 :]]
    if delta.id is None or function.name is None:
        raise ValueError(f"tool call {delta.index} begins without an id and a name")
    call = FunctionCall(name=function.name, arguments=function.arguments or "")
    return [*calls, ToolCall(id=delta.id, type="function", function=call)]


def _whole(index: int, choice: _Choice) -> ChatChoice:
    if choice.finish is None:
        raise ValueError(f"the stream ended before choice {index} did")
    message = ResponseMessage(role="assistant", content="".join(choice.content), refusal=None)
    if choice.tool_calls:
        message.tool_calls = choice.tool_calls
    logprobs = ChoiceLogprobs(content=choice.logprobs, refusal=None) if choice.logprobs else None
    return ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=choice.finish)


def _check_ended_well(output: GenerationOutput) -> None:
    if output.finish_reason is FinishReason.CANCELLED:
        raise ApiError("the request was cancelled before its answer ended", status=503, type=SERVER, code="cancelled")
    if output.finish_reason is FinishReason.ERROR:
        message = f"the answer failed: {output.error}"
        raise ApiError(message, status=500, type=SERVER, code="generation_failed")


def _logprobs(piece: GenerationChunk) -> ChoiceLogprobs | None:
    """Those of the piece's tokens; the EOS or stop id that ends an answer is not part of it."""
    entries = list(piece.logprobs or ())
    if piece.finish_reason is FinishReason.STOP and piece.tokens:
        entries = entries[:-1]
    return ChoiceLogprobs(content=[_chat_logprob(entry) for entry in entries], refusal=None) if entries else None


def _chat_logprob(entry: TokenLogprob) -> ChatLogprob:
    top = [TopLogprob(token=one.token, logprob=one.logprob, bytes=list(one.token_bytes)) for one in entry.top]
    return ChatLogprob(token=entry.token, logprob=entry.logprob, bytes=list(entry.token_bytes), top_logprobs=top)
