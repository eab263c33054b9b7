"""`parse_request`, `parse_body`: bytes from a client → a checked request, or the `ApiError` that says what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import NoReturn, TypeVar

from pydantic import ValidationError

from .errors import ApiError, api_error
from .types.requests import ChatCompletionRequest
from .types.strict import Strict

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_NESTING = 64
MAX_INTEGER = 2**64

Request = TypeVar("Request", bound=Strict)

_Fault = tuple[str, tuple[str | int, ...]]


def parse_request(body: bytes | str | Mapping[str, object]) -> ChatCompletionRequest:
    """The chat completion request in a body: JSON, or what JSON was read into.

    A body of many megabytes takes seconds: read that one off the event loop.

    Raises:
        ApiError: the body is too large, is not JSON or no object, or a field of it is wrong; `param` names the field.
    """
    return parse_body(body, ChatCompletionRequest)


def parse_body(body: bytes | str | Mapping[str, object], kind: type[Request]) -> Request:
    """The request of one kind in a body, as `parse_request` reads a chat completion's.

    Raises:
        ApiError: as `parse_request` does.
    """
    data = read_body(body) if isinstance(body, bytes | str) else body
    if not isinstance(data, Mapping):
        raise ApiError(f"the body is of type {type(data).__name__}; it must be an object")
    check_json(data)
    try:
        return kind.model_validate(dict(data))
    except ValidationError as error:
        raise api_error(error) from error


def check_json(value: object) -> None:
    """Refuse what JSON has no word for, and what nests too deep or counts too high.

    Raises:
        ApiError: names the place.
    """
    found = None if _is_sound(value) else _fault(value, 1)
    if found is not None:
        reason, keys = found
        path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
        raise ApiError(f"`{path[:80] or 'body'}` {reason}", param=path if keys else None)


def _is_sound(value: object) -> bool:
    """Whether nothing is wrong, found out level by level: much sooner than `_fault` finds out where something is."""
    level: list[object] = [value]
    for _ in range(MAX_NESTING):
        inner: list[object] = []
        texts: list[object] = []
        for found in level:
            kind = type(found)
            if kind is str:
                texts.append(found)
            elif isinstance(found, dict):
                texts += found
                inner += found.values()
            elif isinstance(found, list):
                inner += found
            elif not (found is None or kind is bool or _is_sound_number(found)):
                return False
        if not _are_unicode(texts):
            return False
        if not inner:
            return True
        level = inner
    return False


def _is_sound_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) <= MAX_INTEGER


def _are_unicode(texts: list[object]) -> bool:
    try:
        return _is_unicode("".join(texts))  # type: ignore[arg-type]
    except TypeError:
        return False


def _fault(value: object, depth: int) -> _Fault | None:
    """What is wrong in a value, and the keys that lead there."""
    match value:
        case str():
            reason = None if _is_unicode(value) else "holds half a surrogate pair, which is no character"
        case None:
            reason = None
        case int():
            reason = f"is an integer beyond {MAX_INTEGER}" if abs(value) > MAX_INTEGER else None
        case float():
            reason = None if math.isfinite(value) else f"is {value}; it must be a finite number"
        case Mapping():
            if not all(isinstance(key, str) and _is_unicode(key) for key in value):
                return "has a key that is no text", ()
            return _fault_within(value.items(), depth)
        case list() | tuple():
            return _fault_within(enumerate(value), depth)
        case _:
            reason = f"is of type {type(value).__name__}, which JSON does not have"
    return None if reason is None else (reason, ())


def _fault_within(items: Iterable[tuple[str | int, object]], depth: int) -> _Fault | None:
    if depth > MAX_NESTING:
        return f"nests deeper than {MAX_NESTING} levels", ()
    for key, item in items:
        found = _fault(item, depth + 1)
        if found is not None:
            return found[0], (key, *found[1])
    return None


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_body(body: bytes | str) -> object:
    """What a body of JSON says; that it is an object, and what is in it, is checked elsewhere.

    Raises:
        ApiError: it is too large, or it is no JSON.
    """
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
