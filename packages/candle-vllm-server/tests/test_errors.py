from __future__ import annotations

import json

import pytest
from starlette.exceptions import HTTPException

from candle_vllm_core import CapacityError, ContextLengthError, EngineClosedError, ParameterError
from candle_vllm_server.errors import HttpError, ServerStopping, reply


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "param"),
    [
        (
            HttpError(404, "no", code="model_not_found", param="model"),
            404,
            "not_found_error",
            "model_not_found",
            "model",
        ),
        (HttpError(413, "no", code="request_too_large"), 413, "invalid_request_error", "request_too_large", None),
        (ServerStopping(), 503, "server_busy", "server_shutdown", None),
        (HTTPException(404), 404, "not_found_error", "not_found", None),
        (HTTPException(405, headers={"Allow": "GET"}), 405, "invalid_request_error", "method_not_allowed", None),
        (ParameterError("top_p", 2, "at most 1"), 400, "invalid_request_error", "invalid_value", "top_p"),
        (ContextLengthError(9, 8), 400, "invalid_request_error", "context_length_exceeded", "messages"),
        (CapacityError(9, 8), 400, "invalid_request_error", "context_length_exceeded", "messages"),
        (EngineClosedError("no"), 503, "server_error", "engine_closed", None),
        (KeyError("secret"), 500, "server_error", "internal_error", None),
    ],
)
def test_table(error: Exception, status: int, kind: str, code: str, param: str | None) -> None:
    response = reply(error)
    body = json.loads(bytes(response.body))["error"]
    assert (response.status_code, body["type"], body["code"], body["param"]) == (status, kind, code, param)
    assert body["message"] and "secret" not in body["message"]
    assert ("retry-after" in response.headers) == (status == 503)


def test_headers_come_along() -> None:
    assert reply(HTTPException(405, headers={"Allow": "GET"})).headers["allow"] == "GET"
