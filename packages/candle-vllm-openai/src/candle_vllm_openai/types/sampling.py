"""`SamplingRequest`: what requests for text have in common, chat or not."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Tag, field_validator, model_validator
from pydantic import Field as Bounds

from .strict import Strict, at_most, invalid, list_or_text, only, unsupported
from .structured import StructuredOutputs

MAX_INT = 2**31 - 1

Count = Annotated[int, Bounds(ge=1, le=MAX_INT)]
Penalty = Annotated[float, Bounds(ge=-2, le=2)]
StopText = Annotated[str, Bounds(min_length=1, max_length=1000)]
Stop = Annotated[
    Annotated[StopText, Tag("as text")] | Annotated[list[StopText], Bounds(max_length=16), Tag("as list")],
    Discriminator(list_or_text),
]
TokenId = Annotated[int, Bounds(ge=0, le=MAX_INT)]
TokenKey = Annotated[str, Bounds(pattern=r"^[0-9]{1,10}$")]
Bias = Annotated[float, Bounds(ge=-100, le=100)]
BadWord = Annotated[str, Bounds(min_length=1, max_length=100)]


class StreamOptions(Strict):
    """What a stream carries besides the answer."""

    table_path: ClassVar[str | None] = "stream_options."

    include_usage: bool = False
    include_obfuscation: Literal[False] = False

    @field_validator("include_obfuscation", mode="before")
    @classmethod
    def _no_padding(cls, value: Any) -> Any:
        return only("stream_options.include_obfuscation", value, value is not True)


class SamplingRequest(Strict):
    """How answers are drawn, streamed and bounded: the fields that every endpoint that writes text has."""

    model: Annotated[str, Bounds(max_length=1024)] | None = None
    temperature: Annotated[float, Bounds(ge=0, le=2)] | None = None
    top_p: Annotated[float, Bounds(gt=0, le=1)] | None = None
    n: Annotated[int, Bounds(ge=1, le=128)] = 1
    best_of: Count | None = None
    stop: Stop | None = None
    max_tokens: Count | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[TokenKey, Bias], at_most(1024)] | None = None
    seed: Annotated[int, Bounds(ge=-(2**63), lt=2**63)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None

    top_k: Annotated[int, Bounds(ge=-1, le=MAX_INT)] | None = None
    min_p: Annotated[float, Bounds(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Bounds(gt=0, le=100)] | None = None
    min_tokens: Annotated[int, Bounds(ge=0, le=MAX_INT)] = 0
    ignore_eos: bool = False
    stop_token_ids: Annotated[list[TokenId], Bounds(max_length=1024)] | None = None
    bad_words: Annotated[list[BadWord], Bounds(max_length=1000)] | None = None
    priority: Annotated[int, Bounds(ge=-(2**31), le=MAX_INT)] = 0
    cache_salt: Annotated[str, Bounds(min_length=1, max_length=256)] | None = None
    structured_outputs: StructuredOutputs | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def limit(self) -> int | None:
        """The most tokens to generate; None: up to the end of the context."""
        return self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def form_field(self) -> str | None:
        """The field that says what form the answer must have, None if none does; errors of its constraint name it."""
        return None if self.structured_outputs is None else "structured_outputs"

    @model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise invalid("needs `stream` to be true", "stream_options")
        if self.limit is not None and self.min_tokens > self.limit:
            raise invalid(f"is {self.min_tokens}, and the answer may have {self.limit} tokens at most", "min_tokens")
        if self.best_of is not None and self.best_of != self.n:
            raise unsupported(f"is {self.best_of}; only the value of `n`, {self.n}, is honoured", "best_of")
        return self
