"""A server process: its socket, its signals, and how it ends."""

from __future__ import annotations

import logging
import os
import socket
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from .context import Context

BACKLOG = 2048
DRAIN_S = 5
"""How long a client that does not read may hold up the end of the process."""
MAX_INCOMPLETE_HEADERS = 16 * 1024

logger = logging.getLogger(__name__)


class PortError(Exception):
    """The address cannot be listened on."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on the address; from now on nobody else can have it.

    Raises:
        PortError: the port is taken, not allowed, or the host is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortError(f"cannot listen on {host}: {error.strerror or error}") from error
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        message = f"cannot listen on {host}:{port}: {error.strerror}; choose another port with --p"
        raise PortError(message) from error
    listener.setblocking(False)
    return listener


class Serving(uvicorn.Server):
    """Uvicorn, told to end running streams before it waits for them, and to end with code 0 when asked to end."""

    def __init__(self, app: FastAPI, context: Context) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="on",
                workers=1,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                forwarded_allow_ips="",
                backlog=BACKLOG,
                h11_max_incomplete_event_size=MAX_INCOMPLETE_HEADERS,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._context = context

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End what runs, then the process; a second signal, or one while the model is loaded, ends it at once."""
        if self.should_exit:
            os._exit(128 + sig)
        if self._context.manager.status == "loading":
            # Loading runs in a thread that nothing can interrupt, and holds nothing that has to be put away.
            os._exit(0)
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now: also when the model could not be loaded."""
        return await super().on_tick(counter) or self._context.manager.status == "error"

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End running answers, let their last events out, close the engine."""
        logger.info("ending running answers")
        self._context.stopping.set()
        await super().shutdown(sockets)
