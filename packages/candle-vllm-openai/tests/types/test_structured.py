from typing import Any

import pytest

from candle_vllm_openai import ApiError, ResponseFormat, StructuredOutputs, parse_request

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer"}}}


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_request(HELLO | fields)
    assert (caught.value.status, caught.value.code) == (400, "invalid_value")
    return caught.value


@pytest.mark.parametrize(
    "form",
    [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}},
        {"type": "json_schema", "json_schema": {"name": "p-_1", "schema": {}, "strict": True, "description": "A p."}},
    ],
)
def test_a_response_format_is_dumped_as_it_was_written(form: dict[str, Any]) -> None:
    taken = parse_request(HELLO | {"response_format": form}).response_format
    assert taken is not None and taken.model_dump(exclude_none=True) == form
    assert ResponseFormat.model_validate_json(taken.model_dump_json()) == taken


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "json_schema"}, "json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, "json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "p"}}, "json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"name": "", "schema": {}}}, "json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}, "json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "p", "schema": []}}, "json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": "x"}}}, "json_schema.schema.type"),
        ({"type": "text", "json_schema": {"name": "p", "schema": {}}}, "json_schema"),
        ({"type": "json_object", "json_schema": {"name": "p", "schema": {}}}, "json_schema"),
    ],
)
def test_a_response_format_that_does_not_fit_is_named(form: dict[str, Any], param: str) -> None:
    assert refused(response_format=form).param == f"response_format.{param}"


@pytest.mark.parametrize(
    "form",
    [
        {"json": SCHEMA},
        {"json": SCHEMA, "disable_any_whitespace": True},
        {"json_object": True},
        {"regex": "a|b"},
        {"choice": ["a", "b"]},
        {"grammar": 'start: "a"'},
    ],
)
def test_a_structured_output_is_one_of_five_forms(form: dict[str, Any]) -> None:
    taken = parse_request(HELLO | {"structured_outputs": form}).structured_outputs
    assert taken == StructuredOutputs.model_validate(form)
    assert taken.model_dump(exclude_defaults=True) == form


def test_a_schema_may_be_given_as_text() -> None:
    taken = StructuredOutputs.model_validate({"json": '{"type": "integer"}'})
    assert taken.json_schema == {"type": "integer"}


@pytest.mark.parametrize(
    ("form", "param", "said"),
    [
        ({}, "", "none of json"),
        ({"json_object": False}, "", "none of json"),
        ({"regex": "a", "choice": ["a"]}, "", "regex and choice"),
        ({"json": {}, "json_object": True, "grammar": "x"}, "", "json and json_object and grammar"),
        ({"regex": "a", "disable_any_whitespace": True}, ".disable_any_whitespace", "not for regex"),
        ({"json": "{"}, ".json", "not JSON"),
        ({"json": "[]"}, ".json", "no JSON object"),
        ({"json": "[" * 100_000}, ".json", "deeper than 64"),
        ({"json": '{"const": NaN}'}, ".json", "NaN"),
        ({"json": '{"not":' * 70 + "{}" + "}" * 70}, ".json", "deeper than 64"),
        ({"json": 5}, ".json", ""),
        ({"regex": ""}, ".regex", ""),
        ({"regex": "x" * 200_000}, ".regex", ""),
        ({"grammar": ""}, ".grammar", ""),
        ({"choice": []}, ".choice", ""),
        ({"choice": ["a", ""]}, ".choice[1]", ""),
        ({"choice": ["a"] * 5000}, ".choice", ""),
    ],
)
def test_a_structured_output_that_does_not_fit_is_named(form: dict[str, Any], param: str, said: str) -> None:
    error = refused(structured_outputs=form)
    assert error.param == f"structured_outputs{param}"
    assert said in error.message and len(error.message) < 400


def test_an_answer_has_one_form() -> None:
    error = refused(structured_outputs={"regex": "a"}, response_format={"type": "json_object"})
    assert error.param == "structured_outputs"


def test_the_field_of_the_form_is_known() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    json_object = {"type": "json_object"}
    for fields, field in [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"tools": tools}, "tools"),
        ({"tools": tools, "response_format": json_object}, "response_format"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs"),
    ]:
        assert parse_request(HELLO | fields).form_field == field
