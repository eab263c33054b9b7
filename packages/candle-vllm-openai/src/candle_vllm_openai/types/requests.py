"""`ChatCompletionRequest`: OpenAI's, with vLLM's extensions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field as Bounds
from pydantic import field_validator, model_validator

from .conversation import check_calls
from .messages import Message
from .sampling import Count, SamplingRequest
from .strict import at_most, invalid, only, unsupported
from .structured import ResponseFormat
from .tools import AllowedToolsChoice, NamedToolChoice, Tool, ToolChoice

RESERVED_KWARGS = frozenset({"chat_template", "tokenize", "messages", "tools", "add_generation_prompt"})

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ChatCompletionRequest(SamplingRequest):
    """A chat completion request; each field is honoured, refused by name, or a documented no-op (`FIELDS` says which).

    A field left out takes the adapter's default, then OpenAI's; with no limit the answer may fill the context.

    Raises:
        pydantic.ValidationError: names the fields; `api_error` makes an `ApiError` of it.
    """

    table_path: ClassVar[str | None] = ""

    messages: Annotated[list[Message], Bounds(min_length=1, max_length=4096)]
    max_completion_tokens: Count | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Bounds(ge=0, le=20)] = 0
    response_format: ResponseFormat | None = None
    modalities: Annotated[list[Literal["text"]], Bounds(max_length=2)] | None = None
    tools: Annotated[list[Tool], Bounds(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: ReasoningEffort | None = None
    chat_template_kwargs: Annotated[dict[str, Any], at_most(64)] | None = None

    metadata: Annotated[dict[str, str], at_most(16)] | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default"] | None = None

    @property
    def limit(self) -> int | None:
        """The most tokens to generate, under either of its names; None: up to the end of the context."""
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens

    @property
    def form_field(self) -> str | None:
        """The field that says what form the answer must have, None if none does; errors of its constraint name it."""
        if self.response_format is not None and self.response_format.type != "text":
            return "response_format"
        return super().form_field or ("tools" if self.tools else None)

    @property
    def num_chars(self) -> int:
        """How long the messages and the tools are, for deciding where to render them."""
        tools = [tool.function for tool in self.tools or ()]
        described = sum(len(tool.description or "") + len(str(tool.parameters)) for tool in tools)
        return described + sum(message.num_chars for message in self.messages)

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that the answer may call: those of `tools` that `tool_choice` leaves."""
        match self.tool_choice:
            case "none":
                return ()
            case NamedToolChoice() | AllowedToolsChoice() as choice:
                return tuple(tool for tool in self.tools or () if tool.function.name in choice.names)
        return tuple(self.tools or ())

    @property
    def must_call(self) -> bool:
        """Whether the answer has to call one of `callable_tools`."""
        match self.tool_choice:
            case AllowedToolsChoice(allowed_tools=allowed):
                return allowed.mode == "required"
            case NamedToolChoice() | "required":
                return True
        return False

    @field_validator("modalities", mode="before")
    @classmethod
    def _text_only(cls, value: Any) -> Any:
        return only("modalities", value, not isinstance(value, list) or "audio" not in value)

    @field_validator("service_tier", mode="before")
    @classmethod
    def _no_tier(cls, value: Any) -> Any:
        return only("service_tier", value, not isinstance(value, str) or value in ("auto", "default"))

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
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            reason = f"is {self.max_completion_tokens} and `max_tokens` is {self.max_tokens}; give one of them"
            raise invalid(reason, "max_completion_tokens")
        if self.structured_outputs is not None and self.response_format is not None:
            raise invalid("stands beside `response_format`; give one of them", "structured_outputs")
        return self

    @model_validator(mode="after")
    def _calls_have_results(self) -> Self:
        check_calls(self.messages)
        return self

    @model_validator(mode="after")
    def _tools_agree(self) -> Self:
        names = [tool.function.name for tool in self.tools or ()]
        for name in names:
            if names.count(name) > 1:
                raise invalid(f"holds the name {name} twice; tools are called by their names", "tools")
        if self.tool_choice in (None, "none", "auto"):
            return self
        if not names:
            raise invalid("needs `tools` to choose from", "tool_choice")
        if isinstance(self.tool_choice, NamedToolChoice | AllowedToolsChoice):
            for name in sorted(self.tool_choice.names - set(names)):
                raise invalid(f"names {name}, which is not among `tools`", "tool_choice")
        return self
