"""`Stepper`: one step after the other, on one thread; what fails, fails alone. No torch here."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from ..types import EngineStats, FinishReason
from .request import Drawn, Request
from .scheduler import Emission, Scheduler, Step

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """What computes steps."""

    def run(self, step: Step) -> list[Drawn]:
        """Compute a step and draw a token for each of its slices that `samples`, in their order."""
        ...

    def forget(self, request_id: int) -> None:
        """Drop what is kept for a request that ended."""
        ...


class Stepper:
    """Scheduler and runner together: requests go in, `step` gives the chunks it made. Only one thread may use it."""

    def __init__(self, scheduler: Scheduler, runner: Runner) -> None:
        """Both are this stepper's alone from now on."""
        self._scheduler, self._runner = scheduler, runner
        self._num_steps = self._prompt_tokens = self._generated_tokens = 0

    @property
    def has_work(self) -> bool:
        """Whether any request is unfinished."""
        return bool(self._scheduler.running or self._scheduler.waiting)

    def add(self, request: Request) -> None:
        """Take a request in."""
        self._scheduler.add(request)

    def cancel(self, request_id: int) -> list[Emission]:
        """End a request if it is unfinished; its last chunk."""
        request = self._scheduler.find(request_id)
        return self._end([request], FinishReason.CANCELLED) if request is not None else []

    def cancel_all(self) -> list[Emission]:
        """End every unfinished request; their last chunks."""
        return self._end(self._scheduler.requests(), FinishReason.CANCELLED)

    def step(self) -> list[Emission]:
        """Compute one step; an exception in it fails the requests in it and no others."""
        step = self._scheduler.schedule()
        if not step:
            return []
        self._num_steps += 1
        drawing = [part.request for part in step if part.samples]
        try:
            drawn = self._runner.run(step)
        except Exception as error:
            logger.exception("a step of %d requests failed", len(step))
            return self._end([part.request for part in step], FinishReason.ERROR, _said(error))
        self._scheduler.advance(step)
        self._prompt_tokens += _count_prompt_tokens(step)
        return [emission for pair in zip(drawing, drawn, strict=True) for emission in self._accept(*pair)]

    def _accept(self, request: Request, drawn: Drawn) -> list[Emission]:
        if drawn.error is not None:
            return self._end([request], FinishReason.ERROR, drawn.error)
        try:
            chunk = request.accept(drawn.token, drawn.logprob)
        except Exception as error:
            logger.exception("request %d failed", request.id)
            return self._end([request], FinishReason.ERROR, _said(error))
        self._generated_tokens += 1
        if request.finish_reason is not None:
            self._release(request)
        return [(request, chunk)]

    def _end(self, requests: Iterable[Request], reason: FinishReason, error: str | None = None) -> list[Emission]:
        emissions = []
        for request in requests:
            emissions.append((request, request.end(reason, error)))
            self._release(request)
        return emissions

    def _release(self, request: Request) -> None:
        self._scheduler.release(request)
        self._runner.forget(request.id)

    def stats(self) -> EngineStats:
        """A snapshot; any thread may ask."""
        kv = self._scheduler.kv
        return EngineStats(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            kv_blocks_total=kv.num_blocks,
            kv_blocks_used=kv.num_used,
            kv_blocks_cached=kv.num_cached,
            block_size=kv.block_size,
            prefix_hit_tokens=self._scheduler.prefix_hit_tokens,
            preemptions=self._scheduler.preemptions,
            prompt_tokens=self._prompt_tokens,
            generated_tokens=self._generated_tokens,
            steps=self._num_steps,
        )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _count_prompt_tokens(step: Step) -> int:
    return sum(max(min(part.stop, len(part.request.prompt)) - part.start, 0) for part in step)
