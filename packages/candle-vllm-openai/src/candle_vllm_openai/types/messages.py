"""The messages of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Tag, model_validator
from pydantic import Field as Bounds

from .mcp import McpObject, mcp_text
from .strict import Strict, invalid, list_or_text, unsupported
from .tools import MAX_CALLS, ToolCall

ASSISTANT_FIELDS = (
    *("tool_calls", "reasoning_content", "reasoning", "refusal"),
    *("annotations", "parsed", "provider_specific_fields"),
)
Role = Literal["system", "developer", "user", "assistant", "tool"]

PARTS_SEPARATOR = "\n"


class ContentPart(Strict):
    """A piece of a message's content: text, or the text of a refusal."""

    table_path: ClassVar[str | None] = "messages[].content[]."

    type: Literal["text", "refusal"]
    text: str | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _has_its_text(self) -> Self:
        other = "refusal" if self.type == "text" else "text"
        if getattr(self, self.type) is None:
            raise invalid("is missing", self.type)
        if getattr(self, other) is not None:
            raise invalid(f"stands in a part of type {self.type}", other)
        return self

    @property
    def plain(self) -> str:
        """The part's text, whatever its type."""
        return self.text or self.refusal or ""


Content = Annotated[
    Annotated[str, Tag("as text")]
    | Annotated[list[ContentPart], Bounds(min_length=1, max_length=4096), Tag("as list")],
    Discriminator(list_or_text),
]


class Message(Strict):
    """One message of a conversation; `Message.user("Hello")` makes the usual kinds."""

    table_path: ClassVar[str | None] = "messages[]."

    role: Role
    content: Content | None = None
    name: Annotated[str, Bounds(max_length=256)] | None = None
    tool_calls: Annotated[list[ToolCall], Bounds(max_length=MAX_CALLS)] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    annotations: Annotated[list[Any], Bounds(max_length=1024)] | None = None
    parsed: Annotated[Any, Bounds(exclude=True)] = None
    """What the official client leaves in a message that it parsed; it is not written out."""
    provider_specific_fields: Annotated[dict[str, Any] | None, Bounds(exclude=True)] = None
    """What litellm leaves in a message; it is not written out."""

    @classmethod
    def system(cls, content: str) -> Self:
        """What the model is told to be."""
        return cls(role="system", content=content)

    @classmethod
    def user(cls, content: str) -> Self:
        """What the user says."""
        return cls(role="user", content=content)

    @classmethod
    def assistant(cls, content: str) -> Self:
        """What the model said."""
        return cls(role="assistant", content=content)

    @classmethod
    def assistant_with_tool_calls(cls, tool_calls: Sequence[ToolCall], content: str | None = None) -> Self:
        """The tool calls that the model made."""
        return cls(role="assistant", content=content, tool_calls=list(tool_calls))

    @classmethod
    def tool(cls, tool_call_id: str, content: str) -> Self:
        """What a tool call gave."""
        return cls(role="tool", tool_call_id=tool_call_id, content=content)

    @classmethod
    def tool_with_name(cls, tool_call_id: str, content: str, name: str) -> Self:
        """What a tool call gave, with the tool's name for templates that show it."""
        return cls(role="tool", tool_call_id=tool_call_id, content=content, name=name)

    @classmethod
    def from_mcp_result(cls, tool_call_id: str, result: McpObject, name: str | None = None) -> Self:
        """What an MCP server's tool gave, as text; a result that is an error says so."""
        return cls(role="tool", tool_call_id=tool_call_id, content=mcp_text(result), name=name)

    @property
    def text(self) -> str | None:
        """The content as one text, its parts joined by line breaks; None for a message of tool calls alone."""
        if isinstance(self.content, list):
            return PARTS_SEPARATOR.join(part.plain for part in self.content)
        return self.refusal if self.content is None else self.content

    @property
    def thoughts(self) -> str | None:
        """The reasoning before the answer, under either of its names."""
        return self.reasoning if self.reasoning_content is None else self.reasoning_content

    @property
    def num_chars(self) -> int:
        """How long the message is, for deciding where to render it."""
        written = len(self.text or "") + len(self.thoughts or "")
        return written + sum(len(call.function.arguments) for call in self.tool_calls or ())

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        for field in ASSISTANT_FIELDS:
            if self.role != "assistant" and getattr(self, field):
                raise unsupported(f"has no place in a message of role {self.role}", field)
        if None not in (self.reasoning_content, self.reasoning) and self.reasoning_content != self.reasoning:
            raise invalid("is not the same as `reasoning_content`; give one of them", "reasoning")
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise invalid("is missing" if self.role == "tool" else "belongs to messages of role tool", "tool_call_id")
        if self.refusal is not None and self.content is not None:
            raise invalid("stands beside content; an assistant message has one of them", "refusal")
        if self.text is None and not self.tool_calls:
            raise invalid("is missing", "content")
        if self.role != "assistant" and any(part.type == "refusal" for part in self._parts):
            raise invalid(f"holds a refusal, and the message is of role {self.role}", "content")
        return self

    @property
    def _parts(self) -> list[ContentPart]:
        return self.content if isinstance(self.content, list) else []
