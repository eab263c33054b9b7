import pytest
from pydantic import BaseModel, ValidationError

import candle_vllm_openai as openai
from candle_vllm_openai import ApiError, CandleVllmError, api_error
from candle_vllm_openai.errors import shown


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
