"""Tools as OpenAI writes them, and calls of tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, overload

from pydantic import BaseModel, ConfigDict, Discriminator, Tag
from pydantic import Field as Bounds

from .mcp import McpObject, McpToolCall, mcp_call, mcp_fields
from .schemas import JsonSchema
from .strict import Strict

MAX_CALLS = 128

CalledName = Annotated[str, Bounds(min_length=1, max_length=256)]
ToolName = Annotated[str, Bounds(pattern=r"^[a-zA-Z0-9_.:/-]{1,128}$")]
"""OpenAI's characters, and those of MCP's names."""


class FunctionDefinition(Strict):
    """A function that the model may call: its name, what it does, and a JSON schema of its arguments."""

    table_path: ClassVar[str | None] = "tools[].function."

    name: ToolName
    description: str | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None

    def __init__(self, name: str | None = None, /, **fields: Any) -> None:
        BaseModel.__init__(self, **(fields if name is None else fields | {"name": name}))

    def with_description(self, description: str) -> Self:
        """The same function with a description."""
        return self.model_copy(update={"description": description})

    def with_parameters(self, parameters: dict[str, Any]) -> Self:
        """The same function with a JSON schema of its arguments."""
        return self.model_copy(update={"parameters": parameters})


class _FunctionOf:
    """`Tool.function(definition)` makes a tool; `tool.function` is its definition."""

    @overload
    def __get__(self, tool: None, owner: type[Tool]) -> Callable[[FunctionDefinition], Tool]: ...
    @overload
    def __get__(self, tool: Tool, owner: type[Tool]) -> FunctionDefinition: ...
    def __get__(
        self, tool: Tool | None, owner: type[Tool]
    ) -> Callable[[FunctionDefinition], Tool] | FunctionDefinition:
        if tool is None:
            return lambda definition: owner(function=definition)
        return tool.definition


class Tool(Strict):
    """A tool offered to the model: `Tool.function(FunctionDefinition("get_weather"))`."""

    model_config = ConfigDict(
        ignored_types=(_FunctionOf,), validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )
    table_path: ClassVar[str | None] = "tools[]."

    type: Literal["function"] = "function"
    definition: FunctionDefinition = Bounds(alias="function")
    function: ClassVar[_FunctionOf] = _FunctionOf()

    @classmethod
    def from_mcp_list(cls, tools: Iterable[McpObject] | McpObject) -> list[Self]:
        """The tools of an MCP server: what its `tools/list` gave, or the list in it."""
        listed = mcp_fields(tools)["tools"] if isinstance(tools, Mapping | BaseModel) else tools
        return [cls(function=_definition(mcp_fields(tool))) for tool in listed]


def _definition(tool: Mapping[str, Any]) -> FunctionDefinition:
    description, schema = tool.get("description"), tool.get("inputSchema")
    return FunctionDefinition(name=tool.get("name"), description=description, parameters=schema)


class FunctionName(Strict):
    """The function that a tool choice names."""

    table_path: ClassVar[str | None] = "tool_choice.function."

    name: ToolName


class NamedToolChoice(Strict):
    """A tool choice that asks for one function."""

    table_path: ClassVar[str | None] = "tool_choice."

    type: Literal["function"] = "function"
    function: FunctionName

    @property
    def names(self) -> frozenset[str]:
        """The one name, as a set."""
        return frozenset({self.function.name})


class AllowedTools(Strict):
    """Some of the tools, and whether one of them has to be called."""

    table_path: ClassVar[str | None] = "tool_choice.allowed_tools."

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedToolChoice], Bounds(min_length=1, max_length=128)]


class AllowedToolsChoice(Strict):
    """A tool choice that leaves some of the tools."""

    table_path: ClassVar[str | None] = "tool_choice."

    type: Literal["allowed_tools"] = "allowed_tools"
    allowed_tools: AllowedTools

    @property
    def names(self) -> frozenset[str]:
        """The names of the tools that are left."""
        return frozenset(tool.function.name for tool in self.allowed_tools.tools)


def _kind_of_choice(value: object) -> str:
    if isinstance(value, AllowedToolsChoice) or (isinstance(value, dict) and value.get("type") == "allowed_tools"):
        return "of some"
    return "of one" if isinstance(value, dict | NamedToolChoice) else "as word"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("as word")]
    | Annotated[NamedToolChoice, Tag("of one")]
    | Annotated[AllowedToolsChoice, Tag("of some")],
    Discriminator(_kind_of_choice),
]
"""Whether, or which, tool is to be called."""


class FunctionCall(Strict):
    """The function that was called, and its arguments as the model wrote them: a JSON text."""

    table_path: ClassVar[str | None] = "messages[].tool_calls[].function."

    name: CalledName
    arguments: str
    parsed_arguments: Annotated[Any, Bounds(exclude=True)] = None
    """What the official client leaves in a call that it parsed; it is not written out."""


class ToolCall(Strict):
    """A call of a tool by the model."""

    table_path: ClassVar[str | None] = "messages[].tool_calls[]."

    id: Annotated[str, Bounds(min_length=1, max_length=256)]
    type: Literal["function"]
    function: FunctionCall
    index: Annotated[int | None, Bounds(ge=0, le=MAX_CALLS, exclude=True)] = None
    """What is left of a stream's deltas; it is not written out."""

    def to_mcp_call(self) -> McpToolCall:
        """The call as an MCP server takes it.

        Raises:
            ValueError: the arguments are not the text of a JSON object.
        """
        return mcp_call(self.function.name, self.function.arguments)


class FunctionCallDelta(BaseModel):
    """A piece of a function call: the name comes first, pieces of the arguments add up to their text."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(BaseModel):
    """A piece of the tool call at place `index`; the id, the type and the name come with its first piece."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionCallDelta | None = None
