"""`parse_request`: bytes from a client → a checked request, or the `ApiError` that says what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NoReturn

from pydantic import ValidationError

from .errors import ApiError, api_error
from .types.requests import ChatCompletionRequest

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_NESTING = 64
MAX_INTEGER = 2**64


def parse_request(body: bytes | str | Mapping[str, object]) -> ChatCompletionRequest:
    """The chat completion request in a body: JSON, or what JSON was read into.

    Raises:
        ApiError: the body is too large, is not JSON or no object, or a field of it is wrong; `param` names the field.
    """
    data = _read(body) if isinstance(body, bytes | str) else body
    if not isinstance(data, Mapping):
        raise ApiError(f"the body is of type {type(data).__name__}; it must be an object")
    check_json(data)
    try:
        return ChatCompletionRequest.model_validate(dict(data))
    except ValidationError as error:
        raise api_error(error) from error


def check_json(value: object, path: str = "", depth: int = 1) -> None:
    """Refuse what JSON has no word for, and what nests too deep or counts too high.

    Raises:
        ApiError: names the place.
    """
    if depth > MAX_NESTING + 1:
        raise ApiError(f"`{path[:80]}…` nests deeper than {MAX_NESTING} levels")
    match value:
        case str():
            _check_text(value, path)
        case bool() | None:
            pass
        case int() if abs(value) > MAX_INTEGER:
            raise ApiError(f"`{path}` is an integer beyond 64 bits", param=path)
        case float() if not math.isfinite(value):
            raise ApiError(f"`{path}` is {value}; it must be a finite number", param=path)
        case int() | float():
            pass
        case Mapping():
            for key, item in value.items():
                _check_text(key, path)
                check_json(item, f"{path}.{key}" if path else key, depth + 1)
        case Sequence():
            for index, item in enumerate(value):
                check_json(item, f"{path}[{index}]", depth + 1)
        case _:
            raise ApiError(f"`{path}` is of type {type(value).__name__}, which JSON does not have", param=path)


def _check_text(text: object, path: str) -> None:
    try:
        if not isinstance(text, str):
            raise ApiError(f"`{path}` has a key of type {type(text).__name__}; keys must be strings", param=path)
        text.encode()
    except UnicodeEncodeError as error:
        raise ApiError(f"`{path}` holds half a surrogate pair, which is no character", param=path) from error


def _read(body: bytes | str) -> object:
    if len(body) > MAX_BODY_BYTES:
        raise ApiError(
            f"the body has {len(body)} bytes; at most {MAX_BODY_BYTES} are taken", status=413, code="request_too_large"
        )
    try:
        text = body.decode() if isinstance(body, bytes) else body
        data: object = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError as error:
        raise ApiError(f"the body nests deeper than {MAX_NESTING} levels") from error
    except ValueError as error:
        raise ApiError(f"the body is not JSON in UTF-8: {error}", code="invalid_json") from error
    return data


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ApiError(f"`{twice[:80]}` stands twice in one object; give it once", param=twice)
    return fields


def _refuse_constant(word: str) -> NoReturn:
    raise ApiError(f"the body holds {word}, which is no JSON number", code="invalid_value")
