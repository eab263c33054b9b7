"""What every request is held against before it reaches a route: header size, Host, key."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import HttpError, reply
from .settings import Settings

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 128
OPEN_PATHS = frozenset({"/health"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Guards:
    """ASGI middleware that refuses a request before any route sees it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = LOOPBACK_NAMES | {settings.host.lower()} if is_loopback(settings.host) else None
        key = settings.api_key
        self._key_digest = None if key is None else _digest(key.get_secret_value())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except HttpError as error:
                await reply(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        check_size(headers)
        if self._hosts is not None:
            check_host(headers.get("host", ""), self._hosts)
        if self._key_digest is not None and scope["path"] not in OPEN_PATHS:
            check_key(headers.get("authorization", ""), self._key_digest)


def check_size(headers: Headers) -> None:
    """Refuse a flood of headers with 431."""
    size = sum(len(name) + len(value) for name, value in headers.raw)
    if size > MAX_HEADER_BYTES or len(headers.raw) > MAX_HEADERS:
        message = (
            f"{len(headers.raw)} headers of {size:,} bytes; at most {MAX_HEADERS} of {MAX_HEADER_BYTES:,} are taken"
        )
        raise HttpError(431, message, code="headers_too_large")


def check_host(host: str, allowed: frozenset[str]) -> None:
    """Refuse names that a page elsewhere could have pointed at this machine (DNS rebinding)."""
    name = host_name(host)
    if name not in allowed:
        known = ", ".join(sorted(allowed))
        raise HttpError(403, f"the Host header names {name!r}; this server answers to {known}", code="invalid_host")


def check_key(authorization: str, expected: bytes) -> None:
    """Refuse a request without the key; the time it takes tells nothing about the key."""
    scheme, _, given = authorization.partition(" ")
    if not secrets.compare_digest(_digest(given.strip()), expected) or scheme.lower() != "bearer":
        message = "the API key is missing or wrong; send it as `Authorization: Bearer KEY`"
        raise HttpError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def host_name(host: str) -> str:
    """A Host header without its port and without the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
