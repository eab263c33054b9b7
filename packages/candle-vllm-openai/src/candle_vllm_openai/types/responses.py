"""OpenAI's chat completion, whole and in chunks. What is null in a response is set; what is left out is absent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from .tools import ToolCall, ToolCallDelta

FinishWord = Literal["stop", "length", "tool_calls"]


class TopLogprob(BaseModel):
    """A likely token at one position, with its log probability and its bytes of UTF-8."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatLogprob(TopLogprob):
    """A token of the answer, and the likeliest ones in its place."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(BaseModel):
    """Log probabilities of the tokens of an answer's content, in the model's raw distribution.

    A token of which any character is content is among them; those of reasoning and of calls of tools are not.
    """

    content: list[ChatLogprob] | None
    refusal: None


class PromptTokensDetails(BaseModel):
    """What became of the prompt's tokens."""

    cached_tokens: int


class CompletionTokensDetails(BaseModel):
    """What the answers' tokens became."""

    reasoning_tokens: int


class Usage(BaseModel):
    """Tokens of the prompt, once, and of all answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class ResponseMessage(BaseModel):
    """What the model answered."""

    role: Literal["assistant"]
    content: str | None
    """None where there is nothing beside calls of tools."""
    refusal: None
    reasoning_content: str | None = None
    """What the model thought before; left out if it did not."""
    tool_calls: list[ToolCall] | None = None
    """Left out if there are none."""


class ChatChoice(BaseModel):
    """One of the answers."""

    index: int
    message: ResponseMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishWord


class ChatCompletionResponse(BaseModel):
    """A whole chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[ChatChoice]
    usage: Usage

    def to_json(self) -> str:
        """The response as OpenAI writes it."""
        return self.model_dump_json(exclude_unset=True)


class ChoiceDelta(BaseModel):
    """What a chunk adds to an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(BaseModel):
    """The piece of one answer that a chunk carries."""

    index: int
    delta: ChoiceDelta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishWord | None


class ChatCompletionChunk(BaseModel):
    """A piece of a streamed chat completion."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[ChunkChoice]
    usage: Usage | None = None
    """Left out unless usage was asked for; then null until the last chunk, which has no choices."""

    def to_json(self) -> str:
        """The chunk as OpenAI writes it."""
        return self.model_dump_json(exclude_unset=True)
