"""Log lines of `key=value` with the request's id; never a prompt, an answer or a key."""

from __future__ import annotations

import logging
import re
import time
import uuid
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ClientGone, reply

REQUEST_ID = "x-request-id"
CLIENT_CLOSED = 499
"""What is logged for a client that did not wait for its answer."""

FIELDS = ("method", "path", "status", "ms")

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

logger = logging.getLogger("candle_vllm_server.access")


def configure(level: str) -> None:
    """Send the logs of this process to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These two log every hub request and every connection at info.
    for name in ("httpx", "uvicorn.error"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


class LineFormatter(logging.Formatter):
    """One line per event: time, level, logger, message, then `key=value` for each field that is there."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        fields = {"request_id": _request_id.get()} | {name: record.__dict__.get(name) for name in FIELDS}
        pairs = "".join(f" {name}={value}" for name, value in fields.items() if value is not None)
        line = f"{self.formatTime(record)} {record.levelname} {record.name} {record.getMessage()}{pairs}"
        return line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"


class RequestLog:
    """ASGI middleware, the outermost: gives each request an id, logs it, and answers for exceptions nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope))
        token = _request_id.set(request_id)
        try:
            await self._serve(scope, receive, send, request_id)
        finally:
            _request_id.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started_at, status = time.perf_counter(), CLIENT_CLOSED

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientGone:
            status = CLIENT_CLOSED
        except Exception as error:
            logger.exception("a request failed in a way that nobody foresaw")
            if status != CLIENT_CLOSED:
                raise
            await reply(error)(scope, receive, send_with_id)
        ms = round((time.perf_counter() - started_at) * 1000, 1)
        fields = {"method": scope["method"], "path": printable(scope["path"]), "status": status, "ms": ms}
        logger.info("request", extra=fields)


def request_id_of(headers: Headers) -> str:
    """The id that the client gave, if it is a plain one; else a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex


def printable(path: str) -> str:
    """A path that cannot start a new line or fill the log."""
    return ascii(path[:200])[1:-1]
