import copy
from typing import Any

import pytest

from candle_vllm_openai import ApiError, parse_request

GOOD: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "description": "not a schema of its own: {'type': 'banana'}",
    "properties": {
        "type": {"type": "string", "enum": ["banana"], "default": None},
        "$ref": {"$ref": "#/$defs/node"},
        "required": {"type": ["integer", "null"], "minimum": 0},
        "a b": {"anyOf": [{"pattern": "^a$"}, True, {"const": {"type": "banana"}}]},
        "tuple": {"prefixItems": [{"type": "null"}], "items": False, "examples": [{"type": "banana"}]},
        "old": {"items": [{"type": "number"}]},
    },
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "required": ["type"],
    "additionalProperties": {"not": {"type": "array"}},
    "x-own-keyword": 5,
}


def asked(schema: Any) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    return {"messages": [{"role": "user", "content": "Hello"}], "tools": [tool]}


def test_a_schema_is_taken_as_it_is() -> None:
    [tool] = parse_request(asked(copy.deepcopy(GOOD))).tools or []
    assert tool.function.parameters == GOOD


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "banana"}, "type"),
        ({"type": ["string", "banana"]}, "type"),
        ({"type": []}, "type"),
        ({"type": {"a": 1}}, "type"),
        ({"properties": {"x": {"type": "str"}}}, "properties.x.type"),
        ({"properties": []}, "properties"),
        ({"properties": {"x": 5}}, "properties.x"),
        ({"pattern": 5}, "pattern"),
        ({"$ref": "http://169.254.169.254/latest"}, "$ref"),
        ({"$ref": "file:///etc/passwd"}, "$ref"),
        ({"$ref": 5}, "$ref"),
        ({"$defs": {"a": {"items": {"$ref": "other.json#/a"}}}}, "$defs.a.items.$ref"),
        ({"anyOf": [{}, {"not": {"type": "x"}}]}, "anyOf[1].not.type"),
        ({"allOf": "x"}, "allOf"),
        ({"required": "x"}, "required"),
        ({"required": [1]}, "required"),
        ({"enum": []}, "enum"),
        ({"additionalProperties": "no"}, "additionalProperties"),
    ],
)
def test_a_schema_that_says_nothing_is_refused_at_its_place(schema: Any, place: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_request(asked(schema))
    assert (caught.value.status, caught.value.code) == (400, "invalid_value")
    assert caught.value.param == f"tools[0].function.parameters.{place}"


@pytest.mark.parametrize("schema", [[], "{}", True, 5])
def test_parameters_are_an_object(schema: Any) -> None:
    with pytest.raises(ApiError) as caught:
        parse_request(asked(schema))
    assert caught.value.param == "tools[0].function.parameters"
