import json
from typing import Any

import pytest

from candle_vllm_core import Constraint, GenerationParams, ParameterError
from candle_vllm_core.constraint import MAX_CHARS, MAX_CHOICES, MAX_DEPTH


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    while depth > 1:
        schema, depth = {"items": schema}, depth - 1
    return schema


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "constraint"),
        ({"regex": "a", "choice": ["a"]}, "constraint"),
        ({"json_object": True, "json_schema": {}}, "constraint"),
        ({"json_object": False}, "constraint"),
        ({"json_object": 1}, "constraint.json_object"),
        ({"regex": "a", "compact": True}, "constraint.compact"),
        ({"json_object": True, "lenient": True}, "constraint.lenient"),
        ({"json_schema": {}, "lenient": None}, "constraint.lenient"),
        ({"regex": ""}, "constraint.regex"),
        ({"regex": b"a"}, "constraint.regex"),
        ({"regex": "a" * (MAX_CHARS + 1)}, "constraint.regex"),
        ({"grammar": "start: \ud800"}, "constraint.grammar"),
        ({"choice": "ab"}, "constraint.choice"),
        ({"choice": []}, "constraint.choice"),
        ({"choice": ["a", ""]}, "constraint.choice"),
        ({"choice": ["a"] * (MAX_CHOICES + 1)}, "constraint.choice"),
        ({"choice": [str(n) + "a" * 1000 for n in range(200)]}, "constraint.choice"),
        ({"json_schema": "{"}, "constraint.json_schema"),
        ({"json_schema": "[]"}, "constraint.json_schema"),
        ({"json_schema": {"const": {1, 2}}}, "constraint.json_schema"),
        ({"json_schema": {"const": float("nan")}}, "constraint.json_schema"),
        ({"json_schema": nested(MAX_DEPTH + 1)}, "constraint.json_schema"),
        ({"json_schema": "[" * 100_000}, "constraint.json_schema"),
        ({"json_schema": {"enum": ["a" * MAX_CHARS]}}, "constraint.json_schema"),
    ],
)
def test_what_no_answer_could_follow_is_refused_with_its_field(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ParameterError) as caught:
        Constraint(**given)
    assert caught.value.field == field
    assert len(str(caught.value)) < 5000


def test_a_schema_that_contains_itself_as_an_object_is_refused() -> None:
    schema: dict[str, Any] = {}
    schema["items"] = schema
    with pytest.raises(ParameterError):
        Constraint(json_schema=schema)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"json_schema": nested(MAX_DEPTH)}, "json_schema"),
        ({"json_schema": False}, "json_schema"),
        ({"json_schema": '{"type": "null"}', "compact": True}, "json_schema"),
        ({"json_object": True, "compact": True}, "json_object"),
        ({"regex": "a"}, "regex"),
        ({"choice": ["a", "b"]}, "choice"),
        ({"grammar": 'start: "a"'}, "grammar"),
    ],
)
def test_a_constraint_knows_its_kind_and_never_changes(given: dict[str, Any], kind: str) -> None:
    constraint = Constraint(**given)
    assert constraint.kind == kind
    assert constraint == Constraint(**given) and hash(constraint) == hash(Constraint(**given))


def test_a_schema_is_kept_as_it_was_given() -> None:
    schema: dict[str, Any] = {"properties": {"b": {}, "a": {}}}
    constraint = Constraint(json_schema=schema)
    schema["properties"]["c"] = {}
    kept = json.loads(str(constraint.json_schema))
    assert list(kept["properties"]) == ["b", "a"]


def test_parameters_take_a_constraint_and_nothing_else() -> None:
    assert GenerationParams(constraint=Constraint(regex="a")).constraint == Constraint(regex="a")
    with pytest.raises(ParameterError, match="constraint"):
        GenerationParams(constraint={"regex": "a"})  # type: ignore[arg-type]
