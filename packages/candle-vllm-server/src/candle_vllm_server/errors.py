"""What goes wrong between the socket and the adapter; `reply` is where any error becomes OpenAI's error body."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.responses import Response

from candle_vllm_responses import ApiError, api_error

RETRY_AFTER_S = 1

TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 503: "server_busy"}


class HttpError(ApiError):
    """A request that the server refuses, or cannot serve now; its type follows from its status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        super().__init__(message, status=status, type=kind, code=code, param=param)
        self.headers = dict(headers or {})


class ClientGone(Exception):
    """The client closed its connection before its answer was whole."""


class ServerStopping(HttpError):
    """The server was told to stop while this request ran."""

    def __init__(self) -> None:
        super().__init__(503, "the server is shutting down; ask again once it is back", code="server_shutdown")


def as_error(error: Exception) -> ApiError:
    """Any exception as one that has a status and a body; one that nobody foresaw tells nothing of its inside."""
    return _of_framework(error) if isinstance(error, HTTPException) else api_error(error)


def error_json(error: ApiError) -> str:
    """The body as text."""
    return json.dumps(error.body(), ensure_ascii=False)


def reply(error: Exception) -> Response:
    """The response that tells a client what went wrong."""
    known = as_error(error)
    headers = dict(known.headers) if isinstance(known, HttpError) else {}
    if known.status == 503:
        headers.setdefault("retry-after", str(RETRY_AFTER_S))
    return Response(error_json(known), known.status, headers, media_type="application/json")


def _of_framework(error: HTTPException) -> HttpError:
    """FastAPI's own refusals: no such route, or not by this method."""
    match error.status_code:
        case 404:
            return HttpError(404, "there is no such route", code="not_found")
        case 405:
            allowed = (error.headers or {}).get("Allow", "another")
            message = f"this route does not take this method; it takes {allowed}"
            return HttpError(405, message, code="method_not_allowed", headers=error.headers)
        case status:
            return HttpError(status, error.detail, code="refused", headers=error.headers)
