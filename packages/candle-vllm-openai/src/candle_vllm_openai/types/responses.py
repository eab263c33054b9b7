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
    """Log probabilities of an answer's tokens, in the model's raw distribution."""

    content: list[ChatLogprob] | None
    refusal: None


class PromptTokensDetails(BaseModel):
    """What became of the prompt's tokens."""

    cached_tokens: int


class Usage(BaseModel):
    """Tokens of the prompt, once, and of all answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class ResponseMessage(BaseModel):
    """What the model answered."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCall] | None = None


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
