from typing import Any

import pytest
from pydantic import ValidationError

from candle_vllm_openai import ApiError, FunctionDefinition, NamedToolChoice, Tool, parse_request

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "default": None}}}


def test_a_tool_is_built_as_openai_writes_it() -> None:
    definition = FunctionDefinition("get_weather").with_description("The weather.").with_parameters(SCHEMA)
    tool = Tool.function(definition)
    assert tool.function == definition
    assert tool.model_dump(exclude_none=True) == {
        "type": "function",
        "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA},
    }
    assert Tool.model_validate(tool.model_dump()) == tool
    assert FunctionDefinition(name="get_weather").description is None


def test_building_changes_nothing_in_place() -> None:
    definition = FunctionDefinition("f")
    definition.with_description("x")
    assert definition == FunctionDefinition("f")


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "custom", "function": {"name": "f"}},
        {"type": "function"},
        {"type": "function", "function": {}},
        {"type": "function", "function": {"name": ""}},
        {"type": "function", "function": {"name": "f", "colour": 1}},
        {"type": "function", "function": {"name": "f"}, "colour": 1},
        {"type": "function", "function": {"name": "f", "strict": 1}},
    ],
)
def test_what_is_no_tool_is_refused(tool: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Tool.model_validate(tool)


def test_a_choice_names_its_function() -> None:
    choice = NamedToolChoice.model_validate({"type": "function", "function": {"name": "f"}})
    assert choice.function.name == "f"


def asked(**fields: Any) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g", "h.i")]
    return {"messages": [{"role": "user", "content": "x"}], "tools": tools} | fields


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def some(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


@pytest.mark.parametrize(
    ("choice", "names", "must_call"),
    [
        (None, ["f", "g", "h.i"], False),
        ("auto", ["f", "g", "h.i"], False),
        ("none", [], False),
        ("required", ["f", "g", "h.i"], True),
        (named("g"), ["g"], True),
        (some("auto", "h.i", "f"), ["f", "h.i"], False),
        (some("required", "g"), ["g"], True),
    ],
)
def test_a_choice_leaves_the_tools_that_may_be_called(choice: Any, names: list[str], must_call: bool) -> None:
    request = parse_request(asked(tool_choice=choice))
    assert [tool.function.name for tool in request.callable_tools] == names
    assert request.must_call is must_call
    if request.tool_choice is not None:
        assert parse_request(request.model_dump(exclude_none=True)) == request


@pytest.mark.parametrize("choice", ["required", named("f"), some("auto", "f")])
def test_a_choice_needs_tools(choice: Any) -> None:
    for tools in (None, []):
        with pytest.raises(ApiError) as caught:
            parse_request(asked(tools=tools, tool_choice=choice))
        assert (caught.value.param, caught.value.code) == ("tool_choice", "invalid_value")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"tool_choice": named("x")}, "tool_choice", "invalid_value"),
        ({"tool_choice": some("auto", "f", "x")}, "tool_choice", "invalid_value"),
        ({"tool_choice": some("auto")}, "tool_choice.allowed_tools.tools", "invalid_value"),
        ({"tool_choice": some("maybe", "f")}, "tool_choice.allowed_tools.mode", "invalid_value"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools", "invalid_value"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "invalid_value"),
        ({"tool_choice": {"type": "banana"}}, "tool_choice.type", "invalid_value"),
        ({"tool_choice": named("f") | {"x": 1}}, "tool_choice.x", "unsupported_field"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice.custom", "unsupported_field"),
        ({"tool_choice": []}, "tool_choice", "invalid_value"),
        ({"tools": [named("f"), named("f")]}, "tools", "invalid_value"),
        ({"tools": [named("f")] * 129}, "tools", "invalid_value"),
        ({"tools": [named("a b")]}, "tools[0].function.name", "invalid_value"),
        ({"tools": [named("f</tool_call>")]}, "tools[0].function.name", "invalid_value"),
        ({"tools": [named("f\n")]}, "tools[0].function.name", "invalid_value"),
        ({"tools": [named("x" * 129)]}, "tools[0].function.name", "invalid_value"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].custom", "unsupported_field"),
        ({"tools": [{"type": "mcp", "server_url": "http://x"}]}, "tools[0].type", "invalid_value"),
        ({"tools": {"f": named("f")}}, "tools", "invalid_value"),
    ],
)
def test_a_tool_or_a_choice_that_does_not_fit_is_named(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_request(asked(**fields))
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
