"""A request's body, read no further than the server takes."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from .errors import ClientGone, HttpError

MAX_BODY = 10 * 1024 * 1024
READ_TIMEOUT_S = 60.0


async def read_json(request: Request) -> bytes:
    """The body of a request that says it is JSON, or says nothing.

    Raises:
        HttpError: 415 for another type, 413 as soon as it is too long, 408 when it does not come.
    """
    _check_type(request)
    _check_length(request.headers.get("content-length", "0"))
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await _read(request)
    except TimeoutError:
        raise HttpError(408, f"the body was not here after {READ_TIMEOUT_S:g} s", code="request_timeout") from None
    except ClientDisconnect:
        raise ClientGone from None


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise _too_large()
    return bytes(body)


def _check_type(request: Request) -> None:
    given = request.headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    # A browser names its origin; a page elsewhere could post without a type and without asking first.
    lenient = not kind and "origin" not in request.headers
    if not lenient and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        message = f"the content type is {given!r}; send application/json"
        raise HttpError(415, message, code="unsupported_media_type")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise HttpError(415, f"the body is encoded as {encoding!r}; send it plain", code="unsupported_media_type")


def _check_length(length: str) -> None:
    if length.isascii() and length.isdecimal() and int(length[:20]) > MAX_BODY:
        raise _too_large()


def _too_large() -> HttpError:
    return HttpError(413, f"the body is over {MAX_BODY:,} bytes, the most that is taken", code="request_too_large")
