from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from candle_vllm_openai import FunctionCall, McpToolCall, Message, Tool, ToolCall

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
READ: dict[str, Any] = {
    "name": "fs.read",
    "title": "Read",
    "description": "Reads.",
    "inputSchema": SCHEMA,
    "annotations": {"readOnlyHint": True},
}


class Model(BaseModel):
    """As MCP's SDK has it: Python's names within, the protocol's outside."""

    model_config = ConfigDict(extra="allow")

    name: str
    input_schema: dict[str, Any] = Field(alias="inputSchema")
    description: str | None = None


def test_the_tools_of_a_server_become_functions() -> None:
    function = {"name": "fs.read", "description": "Reads.", "parameters": SCHEMA}
    for listed in ([READ], {"tools": [READ], "nextCursor": None}, [Model.model_validate(READ)]):
        [tool] = Tool.from_mcp_list(listed)
        assert tool.model_dump(exclude_none=True) == {"type": "function", "function": function}
    [bare] = Tool.from_mcp_list([{"name": "now"}])
    assert (bare.function.name, bare.function.parameters) == ("now", None)


def test_a_tool_that_cannot_be_called_is_refused() -> None:
    for tool in ({}, {"name": ""}, {"name": "a b"}, {"name": "a", "inputSchema": {"type": "banana"}}):
        with pytest.raises(ValidationError):
            Tool.from_mcp_list([tool])


def call(arguments: str) -> ToolCall:
    return ToolCall(id="a", type="function", function=FunctionCall(name="fs.read", arguments=arguments))


@pytest.mark.parametrize(("written", "read"), [('{"path": "/é"}', {"path": "/é"}), ("{}", {}), ("", {})])
def test_a_call_is_what_a_server_takes(written: str, read: dict[str, Any]) -> None:
    assert call(written).to_mcp_call() == McpToolCall(name="fs.read", arguments=read)


@pytest.mark.parametrize("written", ["[1]", "null", "{", "path", "[" * 100_000])
def test_arguments_that_are_no_object_are_an_error(written: str) -> None:
    with pytest.raises(ValueError, match=r"the arguments of fs\.read"):
        call(written).to_mcp_call()


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
        ({"content": []}, ""),
        ({"content": [], "structuredContent": {"n": "é"}}, '{"n": "é"}'),
        ({"content": [{"type": "text", "text": "5"}], "structuredContent": {"n": 5}}, "5"),
        ({"content": [{"type": "text", "text": "gone"}], "isError": True}, "The tool failed: gone"),
        ({"content": [], "isError": True}, "The tool failed: it does not say why"),
        (
            {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]},
            "[image of type image/png, which this model cannot read]",
        ),
        ({"content": [{"type": "hologram"}]}, "[hologram, which this model cannot read]"),
        ({"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "t"}}]}, "t"),
        ({"content": [{"type": "resource_link", "uri": "file:///a", "name": "a"}]}, "[see file:///a]"),
    ],
)
def test_a_result_becomes_text(result: dict[str, Any], text: str) -> None:
    message = Message.from_mcp_result("a", result, "fs.read")
    assert message == Message.tool_with_name("a", text, "fs.read")
    assert Message.from_mcp_result("a", result).name is None
