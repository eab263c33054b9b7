"""OpenAI's text completion: its request, with vLLM's extensions, and its response, whole and in chunks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, model_validator
from pydantic import Field as Bounds

from ..fields import Endpoint
from .prompts import Prompt, Prompts, listed
from .responses import Usage
from .sampling import MAX_INT, SamplingRequest
from .strict import invalid

MAX_ANSWERS = 2048


class CompletionRequest(SamplingRequest):
    """A completion request; each field is honoured, refused by name, or a documented no-op (`FIELDS` says which).

    Raises:
        pydantic.ValidationError: names the fields; `api_error` makes an `ApiError` of it.
    """

    endpoint: ClassVar[Endpoint] = "completions"
    table_path: ClassVar[str | None] = ""

    prompt: Prompts
    max_tokens: Annotated[int, Bounds(ge=0, le=MAX_INT)] | None = 16
    """0: nothing is written, for a request that only asks for its prompt with `echo`."""
    logprobs: Annotated[int, Bounds(ge=0, le=5)] | None = None
    echo: bool = False

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts one by one."""
        return listed(self.prompt)

    @property
    def limit(self) -> int | None:
        """The most tokens that the engine draws for one answer: at least one, even if it is thrown away."""
        return max(self.max_tokens or 0, 1)

    @model_validator(mode="after")
    def _has_not_too_many_answers(self) -> Self:
        if (count := len(self.prompts) * self.n) > MAX_ANSWERS:
            raise invalid(f"makes {count} answers of {len(self.prompts)} prompts; at most {MAX_ANSWERS} are given", "n")
        return self


class CompletionLogprobs(BaseModel):
    """Log probabilities of a text's tokens, in the model's raw distribution; the lists run side by side.

    A token that is no text in UTF-8 by itself is written `bytes:\\xe2\\x82`.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    """None for the first token of a prompt, which nothing stands before."""
    top_logprobs: list[dict[str, float] | None]
    """The likeliest tokens at each place, and the one that stands there."""
    text_offset: list[int]
    """Where each token begins in the choice's text, in characters."""


class CompletionChoice(BaseModel):
    """One of the answers, or the piece of it that a chunk carries."""

    index: int
    """The prompt's place times `n`, and the place among the prompt's answers."""
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    """None in all chunks but a choice's last one."""


class Completion(BaseModel):
    """A whole completion, or a chunk of one: they are made alike."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[CompletionChoice]
    usage: Usage | None = None
    """Of a chunk: left out unless usage was asked for; then null until the last chunk, which has no choices."""

    def to_json(self) -> str:
        """The completion or the chunk as OpenAI writes it."""
        return self.model_dump_json(exclude_unset=True)
