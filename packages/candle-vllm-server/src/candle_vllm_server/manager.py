"""The one active model: opened once, asked for by name, closed at the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Literal

from candle_vllm_responses import Engine, EngineConfig, ModelInfo, OpenAIAdapter

from .errors import HttpError
from .settings import Settings

DEFAULT_NAME = "default"

ModelStatus = Literal["idle", "loading", "ready", "error"]
OpenEngine = Callable[[EngineConfig], Awaitable[Engine]]

logger = logging.getLogger(__name__)


class ModelManager:
    """Opens the model, says who it is and how it is, and bounds how many requests it is given."""

    def __init__(
        self, settings: Settings, open_engine: OpenEngine, on_ready: Callable[[Engine], None] = lambda engine: None
    ) -> None:
        self._settings, self._open_engine, self._on_ready = settings, open_engine, on_ready
        self._engine: Engine | None = None
        self._adapter: OpenAIAdapter | None = None
        self._seated = 0
        self.status: ModelStatus = "idle"
        self.failure: Exception | None = None
        self.created = int(time.time())

    async def open(self) -> None:
        """Load the model; if that fails, the status is `error` and `failure` says why."""
        self.status = "loading"
        try:
            self._engine = await self._open_engine(self._settings.engine_config())
            self._adapter = OpenAIAdapter.with_config(self._engine, self._settings.adapter_config())
        except Exception as error:
            logger.info("the model was not loaded", exc_info=error)
            self.status, self.failure = "error", error
        else:
            self.status = "ready"
            self._on_ready(self._engine)

    async def close(self) -> None:
        """Close the engine; pending requests end."""
        engine, self._engine, self._adapter = self._engine, None, None
        self.status = "idle" if self.status != "error" else "error"
        if engine is not None:
            await asyncio.to_thread(engine.close)

    @property
    def model_id(self) -> str:
        """The model's name: as it was asked for, else as the loaded model calls itself."""
        if self._settings.served_name is not None:
            return self._settings.served_name
        if self._engine is not None:
            return self._engine.model_info().model_id
        return last_part(self._settings.model_path or DEFAULT_NAME)

    @property
    def info(self) -> ModelInfo | None:
        """What is loaded, once it is."""
        return self._engine.model_info() if self._engine is not None else None

    def check_name(self, name: str | None) -> None:
        """See that a request means this model.

        Raises:
            HttpError: 404 for any other name.
        """
        model_id = self.model_id
        if name not in (None, DEFAULT_NAME, model_id, last_part(model_id), self._settings.model):
            message = f"the model {name!r} is not here; this server has {model_id!r}, also called {DEFAULT_NAME!r}"
            raise HttpError(404, message, code="model_not_found", param="model")

    def adapter(self, name: str | None) -> OpenAIAdapter:
        """Who answers requests for a model of this name; None means the active one.

        Raises:
            HttpError: 404 for a name that is not here, 503 while the model does not answer.
        """
        self.check_name(name)
        if self._adapter is None:
            state = {"loading": "being loaded", "error": "not there, as loading it failed"}.get(
                self.status, "not loaded"
            )
            code = "model_load_failed" if self.status == "error" else "server_busy"
            raise HttpError(503, f"the model {self.model_id!r} is {state}", code=code)
        return self._adapter

    @contextmanager
    def seats(self, count: int) -> Iterator[None]:
        """Hold places for sequences while they wait and run.

        Raises:
            HttpError: 503 when those that may run and those that may wait are all there.
        """
        limit = self._settings.max_num_seqs + self._settings.max_waiting
        if self._seated + count > limit:
            message = f"{self._seated} answers are running or waiting, and {count} more would pass the limit of {limit}"
            raise HttpError(503, message, code="server_busy")
        self._seated += count
        try:
            yield
        finally:
            self._seated -= count


def last_part(model_id: str) -> str:
    """The last part of a path or a hub id."""
    return PurePath(model_id).name or model_id
