"""`EngineLoop`: the one thread that owns the model. Commands go into its inbox, chunks come out of requests' sinks.

The thread sleeps while there is nothing to do and wakes on a command: there is no polling.
"""

from __future__ import annotations

import gc
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from ..config import EngineConfig
from ..errors import EngineClosedError
from ..events import EventHook, Subscribers
from ..memory import return_freed_memory
from ..stats import EngineStats
from ..tokenizer import Tokenizer
from ..types import ModelInfo
from .ahead import AheadStepper
from .device import computes_beside
from .kv import KVBlocks
from .recording import Recording
from .request import Limits, Request
from .runner import ModelRunner
from .scheduler import Emission, Scheduler
from .stepper import Stepper

logger = logging.getLogger(__name__)

MIXED_ON_CPU = 128
"""Tokens of prompts in a step that goes on with answers: a prompt's token takes nearly as long as an answer's there."""

Result = TypeVar("Result")


class EngineLoop:
    """Opens a model on a thread of its own and steps it while there is work."""

    model_info: ModelInfo
    limits: Limits
    tokenizer: Tokenizer

    def __init__(self, config: EngineConfig) -> None:
        """Start the thread and wait until the model is loaded; what goes wrong there is raised here."""
        self._config = config
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._by_hand = False
        self._stepper: Stepper | None = None
        self._recording = Recording(lambda: False)
        self._subscribers = Subscribers()
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(opened,), name="candle-vllm-engine", daemon=True)
        self._thread.start()
        opened.result()

    def submit(self, request: Request, *, by_hand: bool = False) -> None:
        """Take a request in; its chunks go to its sink. `by_hand`: it advances only when `step` is called."""
        self._post(lambda: self._add(request, by_hand))

    def cancel(self, request_id: int) -> None:
        """End a request as cancelled, if it is unfinished."""
        self._post(lambda: self._deliver(self._required_stepper().cancel(request_id)), even_if_closed=True)

    def step(self) -> None:
        """Compute one step now and wait for it; the chunks go to the sinks."""
        self.call(lambda: self._deliver(self._required_stepper().step(whole=True)))

    def call(self, work: Callable[[], Result]) -> Result:
        """Do something on the engine's thread and wait for its result."""
        done: Future[Result] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self._post(run)
        return done.result()

    def stats(self) -> EngineStats:
        """A snapshot, without waiting for the step that is running."""
        return self._required_stepper().stats()

    def subscribe(self, hook: EventHook) -> Callable[[], None]:
        """Tell a hook what happens, on the engine's thread; the function that is given ends that."""
        return self._subscribers.add(hook)

    def close(self) -> None:
        """End pending requests as cancelled, give all memory back and end the thread. May be called more than once."""
        with self._lock:
            first, self._closed = not self._closed, True
            if first:
                self._inbox.put(lambda: None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _post(self, command: Callable[[], None], *, even_if_closed: bool = False) -> None:
        with self._lock:
            if not self._closed:
                self._inbox.put(command)
            elif not even_if_closed:
                raise EngineClosedError("the engine was closed; make a new one")

    def _required_stepper(self) -> Stepper:
        if self._stepper is None:
            raise EngineClosedError("the engine was closed; make a new one")
        return self._stepper

    def _main(self, opened: Future[None]) -> None:
        try:
            self._open()
        except BaseException as error:
            self._closed = True
            opened.set_exception(error)
            return
        opened.set_result(None)
        del opened
        try:
            while not self._closed:
                self._turn()
        except Exception:
            logger.critical("the engine's thread failed and the engine is closed; this is a defect", exc_info=True)
        finally:
            self._shut()

    def _open(self) -> None:
        config = self._config
        runner = ModelRunner(config)
        kv = KVBlocks(
            runner.kv_sizes,
            prefix_cache=config.enable_prefix_cache,
            fingerprint=runner.fingerprint,
            host_blocks=runner.host.blocks,
            host_states=runner.host.states,
        )
        chunk_size = config.prefill_chunk_size if config.enable_chunked_prefill else None
        mixed = config.mixed_chunk_size or (MIXED_ON_CPU if runner.device.type == "cpu" else None)
        scheduler = Scheduler(kv, max_batch_size=config.max_batch_size, chunk_size=chunk_size, mixed_chunk_size=mixed)
        self.model_info, self.limits, self.tokenizer = runner.info, runner.limits, runner.tokenizer
        stepper = AheadStepper if computes_beside(runner.device) else Stepper
        self._stepper = stepper(scheduler, runner, self._subscribers)
        self._recording = Recording(runner.record_next)

    def _turn(self) -> None:
        """Do what is in the inbox, waiting for it if there is nothing else to do, then step once."""
        stepper = self._required_stepper()
        if self._by_hand or not stepper.has_work:
            if self._inbox.empty() and self._recording.go_on(busy=False):
                return
            self._do(self._inbox.get())
        for _ in range(self._inbox.qsize()):
            self._do(self._inbox.get())
        if stepper.has_work and not self._by_hand and not self._closed:
            self._deliver(stepper.step())
            self._recording.go_on(busy=True)

    def _do(self, command: Callable[[], None]) -> None:
        try:
            command()
        except Exception:
            logger.exception("a command to the engine failed; this is a defect")

    def _add(self, request: Request, by_hand: bool) -> None:
        self._by_hand = by_hand
        try:
            self._required_stepper().add(request)
        except Exception as error:
            logger.exception("request %d could not be taken in; this is a defect", request.id)
            self._deliver([(request, request.fail(f"{type(error).__name__}: {error}"))])

    def _deliver(self, emissions: list[Emission]) -> None:
        for request, chunk in emissions:
            try:
                request.sink(chunk)
            except Exception:
                logger.exception("whoever waited for request %d is gone; it is cancelled", request.id)
                self._deliver_last(self._required_stepper().cancel(request.id))

    def _deliver_last(self, emissions: list[Emission]) -> None:
        """Hand over the last chunk of a request whose sink has failed: whoever counts requests must see it end."""
        for request, chunk in emissions:
            with suppress(Exception):
                request.sink(chunk)

    def _shut(self) -> None:
        with self._lock:
            self._closed = True
        while not self._inbox.empty():
            self._do(self._inbox.get())
        self._deliver(self._required_stepper().cancel_all())
        self._stepper, self._recording = None, Recording(lambda: False)
        gc.collect()
        return_freed_memory()
