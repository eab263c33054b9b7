"""OpenAI's error object, and how each error of the engine becomes one.

| error | status | type | code |
| --- | --- | --- | --- |
| a field that is not honoured | 400 | `invalid_request_error` | `unsupported_field` |
| a field out of its bounds, `ParameterError`, `TokenizationError` | 400 | `invalid_request_error` | `invalid_value` |
| `ConstraintError` | 400 | `invalid_request_error` | `invalid_value` |
| `ContextLengthError`, `CapacityError` | 400 | `invalid_request_error` | `context_length_exceeded` |
| `ModelLoadError` | 503 | `server_error` | `model_load_failed` |
| `EngineClosedError` | 503 | `server_error` | `engine_closed` |
| `CancelledError` | 503 | `server_error` | `cancelled` |
| `DeviceError` | 500 | `server_error` | `device_error` |
| `ConfigError` | 500 | `server_error` | `config_error` |
| `GenerationError` | 500 | `server_error` | `generation_failed` |
| anything else | 500 | `server_error` | `internal_error`, without its message |
"""

from __future__ import annotations

from reprlib import Repr

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from candle_vllm_core import (
    CancelledError,
    CandleVllmError,
    CapacityError,
    ConfigError,
    ConstraintError,
    ContextLengthError,
    DeviceError,
    EngineClosedError,
    GenerationError,
    ModelLoadError,
    ParameterError,
    TokenizationError,
)

MAX_PARAM_CHARS = 200
MAX_SHOWN_CHARS = 100

INVALID = "invalid_request_error"
SERVER = "server_error"

_TABLE: dict[type[Exception], tuple[int, str, str]] = {
    ParameterError: (400, INVALID, "invalid_value"),
    TokenizationError: (400, INVALID, "invalid_value"),
    ConstraintError: (400, INVALID, "invalid_value"),
    ContextLengthError: (400, INVALID, "context_length_exceeded"),
    CapacityError: (400, INVALID, "context_length_exceeded"),
    ModelLoadError: (503, SERVER, "model_load_failed"),
    EngineClosedError: (503, SERVER, "engine_closed"),
    CancelledError: (503, SERVER, "cancelled"),
    DeviceError: (500, SERVER, "device_error"),
    ConfigError: (500, SERVER, "config_error"),
    GenerationError: (500, SERVER, "generation_failed"),
    CandleVllmError: (500, SERVER, "internal_error"),
}

_OPENAI_NAMES = {"stop_sequences": "stop"}

_SHORT = Repr()
_SHORT.maxstring = MAX_SHOWN_CHARS


class ApiError(CandleVllmError):
    """A request that could not be served, in OpenAI's terms: an HTTP `status` and the fields of its error object."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = INVALID,
        code: str = "invalid_value",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code
        self.message = message
        self.param = param if param is None else param[:MAX_PARAM_CHARS]

    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON body that OpenAI's clients expect."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def api_error(exception: BaseException, *, prompt: str = "messages", form: str | None = None) -> ApiError:
    """What a client is told about an exception; the message of one that is not ours is kept from it.

    `prompt` is the field that errors of the prompt name, `form` the one that errors of a constraint name.
    """
    if isinstance(exception, ApiError):
        return exception
    if isinstance(exception, ValidationError):
        return _from_validation(exception)
    for kind in type(exception).__mro__:
        if kind in _TABLE:
            status, type_, code = _TABLE[kind]
            return ApiError(str(exception), status=status, type=type_, code=code, param=_param(exception, prompt, form))
    return ApiError(
        "the server failed on this request; its log says why", status=500, type=SERVER, code="internal_error"
    )


def shown(value: object) -> str:
    """A value from outside, short enough for a message."""
    try:
        text = _SHORT.repr(value)
    except ValueError:
        return "a number of too many digits"
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"


def _param(exception: BaseException, prompt: str, form: str | None) -> str | None:
    match exception:
        case ConstraintError():
            return form
        case ParameterError(field=field):
            return form if field.partition(".")[0] == "constraint" else _OPENAI_NAMES.get(field, field)
        case ContextLengthError() | CapacityError() | TokenizationError():
            return prompt
    return None


def _from_validation(exception: ValidationError) -> ApiError:
    detail = exception.errors(include_url=False)[0]
    path = _path(detail)
    match detail["type"]:
        case "extra_forbidden":
            return ApiError(f"`{path}` is not a known field; leave it out", code="unsupported_field", param=path)
        case "unsupported_field":
            return ApiError(f"`{path}` {detail['msg']}", code="unsupported_field", param=path)
        case "missing":
            return ApiError(f"`{path}` is missing", param=path)
        case "invalid_value":
            return ApiError(f"`{path}` {detail['msg']}", param=path)
    wanted = detail["msg"].replace("Input", "It", 1)
    return ApiError(f"`{path}` is {shown(detail['input'])}; {wanted[:1].lower()}{wanted[1:]}", param=path)


def _path(detail: ErrorDetails) -> str:
    """`messages[0].content`: the place of an error, without the names that a union gives its members."""
    place = detail["loc"]
    # The name of an unknown field stands last; it may look like anything.
    unknown = place[-1:] if detail["type"] == "extra_forbidden" else ()
    known = place[: len(place) - len(unknown)]
    keys = [key for key in known if isinstance(key, int) or not (" " in key or key == "[key]")]
    keys += [*unknown, *([detail["ctx"]["field"]] if "field" in detail.get("ctx", {}) else [])]
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return path.removeprefix(".")[:MAX_PARAM_CHARS] if keys else "body"
