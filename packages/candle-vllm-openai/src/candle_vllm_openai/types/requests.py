"""`ChatCompletionRequest`: OpenAI's, with vLLM's extensions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Tag, field_validator, model_validator
from pydantic import Field as Bounds

from ..fields import FIELDS
from .messages import Message, list_or_text
from .strict import Strict, at_most, invalid, unsupported
from .tools import Tool

MAX_INT = 2**31 - 1
RESERVED_KWARGS = frozenset({"chat_template", "tokenize", "messages", "tools", "add_generation_prompt"})

Count = Annotated[int, Bounds(ge=1, le=MAX_INT)]
Penalty = Annotated[float, Bounds(ge=-2, le=2)]
StopText = Annotated[str, Bounds(min_length=1, max_length=1000)]
Stop = Annotated[
    Annotated[StopText, Tag("as text")] | Annotated[list[StopText], Bounds(max_length=16), Tag("as list")],
    Discriminator(list_or_text),
]
TokenKey = Annotated[str, Bounds(pattern=r"^[0-9]{1,10}$")]
Bias = Annotated[float, Bounds(ge=-100, le=100)]


class StreamOptions(Strict):
    """What a stream carries besides the answer."""

    table_path: ClassVar[str | None] = "stream_options."

    include_usage: bool = False
    include_obfuscation: Literal[False] = False

    @field_validator("include_obfuscation", mode="before")
    @classmethod
    def _no_padding(cls, value: Any) -> Any:
        return _only("stream_options.include_obfuscation", value, value is not True)


class ResponseFormat(Strict):
    """The form of the answer; text is the only one so far."""

    table_path: ClassVar[str | None] = "response_format."

    type: Literal["text"]

    @field_validator("type", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return _only("response_format.type", value, value not in ("json_object", "json_schema", "grammar", "python"))


class ChatCompletionRequest(Strict):
    """A chat completion request; each field is honoured, refused by name, or a documented no-op (`FIELDS` says which).

    A field left out takes the adapter's default, then OpenAI's; with no limit the answer may fill the context.

    Raises:
        pydantic.ValidationError: names the fields; `api_error` makes an `ApiError` of it.
    """

    table_path: ClassVar[str | None] = ""

    messages: Annotated[list[Message], Bounds(min_length=1, max_length=4096)]
    model: Annotated[str, Bounds(max_length=1024)] | None = None
    temperature: Annotated[float, Bounds(ge=0, le=2)] | None = None
    top_p: Annotated[float, Bounds(gt=0, le=1)] | None = None
    n: Annotated[int, Bounds(ge=1, le=128)] = 1
    stop: Stop | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[TokenKey, Bias], at_most(1024)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Bounds(ge=0, le=20)] = 0
    seed: Annotated[int, Bounds(ge=-(2**63), lt=2**63)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    modalities: Annotated[list[Literal["text"]], Bounds(max_length=2)] | None = None
    tools: Annotated[list[Tool], Bounds(max_length=128)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    best_of: int | None = None

    top_k: Annotated[int, Bounds(ge=-1, le=MAX_INT)] | None = None
    min_p: Annotated[float, Bounds(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Bounds(gt=0, le=100)] | None = None
    min_tokens: Annotated[int, Bounds(ge=0, le=MAX_INT)] = 0
    ignore_eos: bool = False
    stop_token_ids: Annotated[list[Annotated[int, Bounds(ge=0, le=MAX_INT)]], Bounds(max_length=1024)] | None = None
    priority: Annotated[int, Bounds(ge=-(2**31), le=MAX_INT)] = 0
    chat_template_kwargs: Annotated[dict[str, Any], at_most(64)] | None = None

    user: str | None = None
    metadata: Annotated[dict[str, str], at_most(16)] | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default"] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def limit(self) -> int | None:
        """The most tokens to generate, under either of its names; None: up to the end of the context."""
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @field_validator("tools", mode="before")
    @classmethod
    def _no_tools(cls, value: Any) -> Any:
        return _only("tools", value, not value)

    @field_validator("tool_choice", mode="before")
    @classmethod
    def _no_forced_tool(cls, value: Any) -> Any:
        return _only("tool_choice", value, value != "required" and not isinstance(value, dict | Strict))

    @field_validator("modalities", mode="before")
    @classmethod
    def _text_only(cls, value: Any) -> Any:
        return _only("modalities", value, not isinstance(value, list) or "audio" not in value)

    @field_validator("service_tier", mode="before")
    @classmethod
    def _no_tier(cls, value: Any) -> Any:
        return _only("service_tier", value, not isinstance(value, str) or value in ("auto", "default"))

    @field_validator("chat_template_kwargs")
    @classmethod
    def _nothing_reserved(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        for name in sorted(RESERVED_KWARGS & kwargs.keys()):
            raise unsupported("is reserved; a request may not set it", name)
        return kwargs

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise invalid("needs `logprobs` to be true", "top_logprobs")
        if self.stream_options is not None and not self.stream:
            raise invalid("needs `stream` to be true", "stream_options")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            reason = f"is {self.max_completion_tokens} and `max_tokens` is {self.max_tokens}; give one of them"
            raise invalid(reason, "max_completion_tokens")
        if self.limit is not None and self.min_tokens > self.limit:
            raise invalid(f"is {self.min_tokens}, and the answer may have {self.limit} tokens at most", "min_tokens")
        if self.best_of is not None and self.best_of != self.n:
            raise unsupported(f"is {self.best_of}; only the value of `n`, {self.n}, is honoured", "best_of")
        return self


def _only(path: str, value: Any, allowed: bool) -> Any:
    """`value`, if this version honours it; the table says what it honours of the field at `path`."""
    if not allowed:
        raise unsupported(f"is honoured for {FIELDS[path].note}")
    return value
