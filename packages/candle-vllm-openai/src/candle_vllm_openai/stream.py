"""What the engine gives → OpenAI's chunks; chunks → a whole response."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterable, Iterator, Sequence

from candle_vllm_core import FinishReason, GenerationChunk, GenerationOutput, GenerationStats

from .choice import ChoiceWriter, ParsedWriter, PlainWriter
from .detect import AUTO
from .errors import SERVER, ApiError
from .output import Tools, text_grammar
from .scanner import Grammar
from .types.responses import (
    ChatChoice,
    ChatCompletionChunk,
    ChatCompletionResponse,
    ChatLogprob,
    ChoiceDelta,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionTokensDetails,
    FinishWord,
    PromptTokensDetails,
    ResponseMessage,
    Usage,
)
from .types.tools import FunctionCall, FunctionCallDelta, ToolCall, ToolCallDelta


class ChunkWriter:
    """Writes the chunks of one completion: each choice's role, then pieces and ends as they come, then the usage.

    `grammar` reads the answers' texts; without one all of a text is content. `counts`: see `ParsedWriter`.
    """

    def __init__(
        self,
        model: str,
        *,
        num_choices: int = 1,
        include_usage: bool = False,
        grammar: Grammar | None = None,
        counts: bool = True,
        fingerprint: str | None = None,
    ) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model
        self.include_usage = include_usage
        self.fingerprint = fingerprint
        self._choices: list[ChoiceWriter] = [
            PlainWriter() if grammar is None else ParsedWriter(grammar, counts=counts) for _ in range(num_choices)
        ]
        self._begun = False
        self._stats: list[GenerationStats] = []

    def write(self, index: int, piece: GenerationChunk) -> Iterator[ChatCompletionChunk]:
        """The chunks that carry what the engine gave for choice `index`.

        Raises:
            ApiError: the answer failed or was cancelled.
        """
        if piece.output is not None:
            check_ended_well(piece.output)
        if not self._begun:
            self._begun = True
            # All roles come first and in order: the official client counts on meeting choice 0 before the others.
            for place, each in enumerate(self._choices):
                yield self._chunk(place, ChoiceDelta(role="assistant", content=each.first_content))
        choice = self._choices[index]
        for written in choice.write(piece):
            yield self._chunk(index, written.delta, written.logprobs)
        if piece.output is not None:
            self._stats.append(piece.output.stats)
            yield self._chunk(index, ChoiceDelta(), finish=choice.finish_word(piece.output.finish_reason))

    def usage(self) -> ChatCompletionChunk:
        """The chunk that ends a stream: no choices, and the tokens of all of them."""
        prompt = max(stats.prompt_tokens for stats in self._stats)
        completion = sum(stats.generated_tokens for stats in self._stats)
        cached = min(stats.cached_tokens for stats in self._stats)
        reasoning = sum(choice.num_reasoning for choice in self._choices)
        return self._envelope(
            [],
            Usage(
                prompt_tokens=prompt,
                completion_tokens=completion,
                total_tokens=prompt + completion,
                prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
                completion_tokens_details=CompletionTokensDetails(reasoning_tokens=reasoning),
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
            system_fingerprint=self.fingerprint,
            choices=choices,
        )
        if self.include_usage:
            chunk.usage = usage
        return chunk


class _Choice:
    """One choice's deltas, being added up."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[tuple[str, str, list[str]]] = []
        self._logprobs: list[ChatLogprob] = []
        self._finish: FinishWord | None = None

    def add(self, piece: ChunkChoice) -> None:
        delta = piece.delta
        if delta.content is not None:
            self._content.append(delta.content)
        if delta.reasoning_content is not None:
            self._reasoning.append(delta.reasoning_content)
        for call in delta.tool_calls or ():
            self._add_call(call)
        if piece.logprobs is not None:
            self._logprobs += piece.logprobs.content or ()
        self._finish = piece.finish_reason or self._finish

    def _add_call(self, delta: ToolCallDelta) -> None:
        function = delta.function or FunctionCallDelta()
        if not 0 <= delta.index <= len(self._calls):
            raise _left_out(delta.index, len(self._calls))
        if delta.index == len(self._calls):
            self._calls.append((*_named(delta), []))
        self._calls[delta.index][2].append(function.arguments or "")

    def whole(self, index: int) -> ChatChoice:
        if self._finish is None:
            raise ValueError(f"the stream ended before choice {index} did")
        content = "".join(self._content) if self._content else None
        message = ResponseMessage(role="assistant", content=content, refusal=None)
        if self._reasoning:
            message.reasoning_content = "".join(self._reasoning)
        if self._calls:
            message.tool_calls = [_tool_call(id, name, "".join(pieces)) for id, name, pieces in self._calls]
        logprobs = ChoiceLogprobs(content=self._logprobs, refusal=None) if self._logprobs else None
        return ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=self._finish)


class Collector:
    """Adds the chunks of a stream up to the response that it streams."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._last: ChatCompletionChunk | None = None

    def add(self, chunk: ChatCompletionChunk) -> None:
        """Take the next chunk.

        Raises:
            ValueError: a piece of a tool call belongs to none.
        """
        self._last = chunk
        for piece in chunk.choices:
            self._choices.setdefault(piece.index, _Choice()).add(piece)

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
            choices=[choice.whole(index) for index, choice in sorted(self._choices.items())],
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


def to_chat_response(
    output: GenerationOutput,
    *,
    model: str = "default",
    parser_name: str | None = None,
    tools: Tools | None = None,
    reasoning: str = AUTO,
) -> ChatCompletionResponse:
    """An engine's answer as a chat completion with one choice.

    `parser_name`, `tools` and `reasoning` say how its text is read, as for `OutputParser`; without a parser all of it
    is content.

    Raises:
        ApiError: the answer failed or was cancelled.
        ConfigError: there is no parser or no reasoning style of that name.
    """
    grammar = None if parser_name is None else text_grammar(parser_name, tools, reasoning)
    writer, collector = ChunkWriter(model, include_usage=True, grammar=grammar), Collector()
    piece = GenerationChunk(
        tokens=output.tokens,
        text=output.text,
        logprobs=output.logprobs,
        ends=output.ends,
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
        raise _left_out(delta.index, len(calls))
    if delta.index == len(calls):
        return [*calls, _tool_call(*_named(delta), function.arguments or "")]
    begun = calls[delta.index]
    longer = begun.function.model_copy(update={"arguments": begun.function.arguments + (function.arguments or "")})
    return [*calls[: delta.index], begun.model_copy(update={"function": longer}), *calls[delta.index + 1 :]]


def _named(delta: ToolCallDelta) -> tuple[str, str]:
    """The id and the name that a call begins with."""
    if delta.id is None or delta.function is None or delta.function.name is None:
        raise ValueError(f"tool call {delta.index} begins without an id and a name")
    return delta.id, delta.function.name


def _left_out(index: int, num_calls: int) -> ValueError:
    return ValueError(f"a piece of tool call {index} came after {num_calls} calls; indices count up from 0")


def _tool_call(id: str, name: str, arguments: str) -> ToolCall:
    return ToolCall(id=id, type="function", function=FunctionCall(name=name, arguments=arguments))


def check_ended_well(output: GenerationOutput) -> None:
    """See that an answer is one.

    Raises:
        ApiError: it failed or was cancelled.
    """
    if output.finish_reason is FinishReason.CANCELLED:
        raise ApiError("the request was cancelled before its answer ended", status=503, type=SERVER, code="cancelled")
    if output.finish_reason is FinishReason.ERROR:
        message = f"the answer failed: {output.error}"
        raise ApiError(message, status=500, type=SERVER, code="generation_failed")
