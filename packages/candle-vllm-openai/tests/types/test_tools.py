import pytest
from pydantic import ValidationError

from candle_vllm_openai import FunctionDefinition, NamedToolChoice, Tool

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
