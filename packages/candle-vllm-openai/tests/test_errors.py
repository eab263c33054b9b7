import re

import pytest
from endpoints import parsed, said
from pydantic import BaseModel, ValidationError

import candle_vllm_openai as openai
from candle_vllm_openai import ApiError, CandleVllmError, api_error
from candle_vllm_openai.errors import shown
from candle_vllm_openai.fields import Endpoint


@pytest.mark.parametrize(
    ("error", "status", "type_", "code", "param"),
    [
        (
            openai.ParameterError("temperature", 5, "at most 2"),
            400,
            "invalid_request_error",
            "invalid_value",
            "temperature",
        ),
        (openai.ParameterError("stop_sequences", "", "a text"), 400, "invalid_request_error", "invalid_value", "stop"),
        (openai.TokenizationError("empty"), 400, "invalid_request_error", "invalid_value", "messages"),
        (openai.ConstraintError("regex", "it cannot be read"), 400, "invalid_request_error", "invalid_value", None),
        (openai.ContextLengthError(9, 8), 400, "invalid_request_error", "context_length_exceeded", "messages"),
        (openai.CapacityError(9, 8), 400, "invalid_request_error", "context_length_exceeded", "messages"),
        (openai.ModelLoadError("gone"), 503, "server_error", "model_load_failed", None),
        (openai.EngineClosedError("closed"), 503, "server_error", "engine_closed", None),
        (openai.CancelledError("cancelled"), 503, "server_error", "cancelled", None),
        (openai.DeviceError("lost"), 500, "server_error", "device_error", None),
        (openai.ConfigError("bad"), 500, "server_error", "config_error", None),
        (openai.GenerationError("failed"), 500, "server_error", "generation_failed", None),
        (openai.CandleVllmError("other"), 500, "server_error", "internal_error", None),
    ],
)
def test_every_error_of_the_engine_has_its_place(
    error: CandleVllmError, status: int, type_: str, code: str, param: str | None
) -> None:
    made = api_error(error)
    assert (made.status, made.type, made.code, made.param) == (status, type_, code, param)
    assert made.body() == {"error": {"message": str(error), "type": type_, "param": param, "code": code}}


def test_an_error_that_is_new_to_the_table_is_as_its_base() -> None:
    class Sudden(openai.GenerationError):
        pass

    assert api_error(Sudden("x")).code == "generation_failed"


def test_a_foreign_error_keeps_its_message_to_itself() -> None:
    made = api_error(RuntimeError("/root/secret"))
    assert (made.status, made.code) == (500, "internal_error")
    assert "secret" not in str(made.body())


def test_an_api_error_stays_itself() -> None:
    error = ApiError("x", status=418, type="t", code="c", param="p")
    assert api_error(error) is error
    assert isinstance(error, CandleVllmError) and str(error) == "x"


def test_a_request_built_wrongly_in_python_becomes_an_api_error() -> None:
    with pytest.raises(ValidationError) as caught:
        openai.ChatCompletionRequest(messages=[openai.Message.user("x")], temperature=3)
    assert api_error(caught.value).param == "temperature"


def test_a_validation_error_of_anything_else_has_a_place_too() -> None:
    class Other(BaseModel):
        a: int

    with pytest.raises(ValidationError) as caught:
        Other.model_validate(5)
    assert api_error(caught.value).param == "body"


def test_values_are_shown_short() -> None:
    assert shown("x" * 1000) == shown("x" * 1000)[:101] and len(shown("x" * 1000)) <= 101
    assert len(shown([["x" * 100] * 100] * 100)) <= 101
    assert shown(10**5000) == "a number of too many digits"
    assert shown(True) == "True"


def test_an_error_names_the_field_that_the_endpoint_has() -> None:
    for error in (openai.TokenizationError("x"), openai.ContextLengthError(9, 8), openai.CapacityError(9, 8)):
        assert api_error(error, prompt="input", form="tools").param == "input"
    refused = openai.ConstraintError("json_schema", "uniqueItems cannot be enforced", ["uniqueItems"])
    too_large = openai.ParameterError("constraint.json_schema", "x", "shorter")
    for error in (refused, too_large):
        assert api_error(error, form="response_format").param == "response_format"
    assert "uniqueItems" in api_error(refused).message


def test_a_field_of_no_name_is_no_body() -> None:
    with pytest.raises(ApiError) as caught:
        openai.parse_request({"messages": [{"role": "user", "content": "x"}], "": 1})
    assert (caught.value.param, caught.value.code) == ("", "unsupported_field")


@pytest.mark.parametrize(
    ("endpoint", "fields", "param"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "x" * 60}]}, "messages"),
        ("chat/completions", {"messages": [{"role": "user", "content": "x" * 60}], "stream": True}, "messages"),
        ("completions", {"prompt": "x" * 60}, "prompt"),
        ("completions", {"prompt": [[1], list(range(60))]}, "prompt"),
        ("embeddings", {"input": ["x", "x" * 60]}, "input"),
    ],
)
async def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(
    endpoint: Endpoint, fields: dict[str, object], param: str
) -> None:
    engine = openai.ScriptedEngine(lambda prompt, params: "x", max_sequence_length=50)
    with pytest.raises(ApiError) as caught:
        await said(openai.OpenAIAdapter(engine), parsed(endpoint, fields))
    error = caught.value
    assert (error.status, error.code) == (400, "context_length_exceeded")
    assert error.param is not None and error.param.startswith(param)
    length, limit = map(int, re.findall("[0-9]+", error.message))
    assert length >= 60 and limit == 50
