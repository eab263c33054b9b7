"""`Stepper`: one step after the other, on one thread; what fails, fails alone. No torch here.

| what raises | what fails |
| --- | --- |
| a request's own work: its row of the sampler, its detokenizer, its sink | that request |
| the scheduler | the request it was busy with |
| the runner, or noting what it computed | the requests of that step |
| giving memory back, or anything else that should not | all unfinished requests; the books are made anew |

Whatever fails gets its last chunk, its memory is given back, and the next step is computed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from ..errors import CapacityError
from ..events import Subscribers
from ..stats import EngineStats
from ..types import FinishReason, GenerationChunk
from .journal import Journal
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

    def __init__(self, scheduler: Scheduler, runner: Runner, subscribers: Subscribers | None = None) -> None:
        """Both are this stepper's alone from now on; `subscribers` are told what happens."""
        self._scheduler, self._runner = scheduler, runner
        self._journal = Journal(subscribers if subscribers is not None else Subscribers())

    @property
    def has_work(self) -> bool:
        """Whether any request is unfinished."""
        return bool(self._scheduler.running or self._scheduler.waiting)

    def add(self, request: Request) -> None:
        """Take a request in."""
        self._scheduler.add(request)
        self._journal.queued(request)

    def cancel(self, request_id: int) -> list[Emission]:
        """End a request if it is unfinished; its last chunk."""
        request = self._scheduler.find(request_id)
        return self._guarded(lambda out: self._end([request], FinishReason.CANCELLED, None, out)) if request else []

    def cancel_all(self) -> list[Emission]:
        """End every unfinished request; their last chunks."""
        return self._guarded(lambda out: self._end(self._scheduler.requests(), FinishReason.CANCELLED, None, out))

    def step(self) -> list[Emission]:
        """Compute one step; an exception in it fails the requests in it and no others."""
        self._journal.step_begins()
        emissions = self._guarded(self._step)
        self._journal.idles()
        return emissions

    def stats(self) -> EngineStats:
        """A snapshot; any thread may ask."""
        return self._journal.stats(self._scheduler)

    def _guarded(self, work: Callable[[list[Emission]], None]) -> list[Emission]:
        """What some work emits; where it raises what it should not, all requests fail and the books are made anew."""
        out: list[Emission] = []
        try:
            work(out)
        except Exception as error:
            logger.critical("every request fails and the books are made anew; this is a defect", exc_info=True)
            ended = {request.id for request, chunk in out if chunk.output is not None}
            left = [request for request in self._scheduler.requests() if request.id not in ended]
            self._scheduler.reset()
            for request in left:
                self._emit(request, request.end(FinishReason.ERROR, _said(error)), out)
        return out

    def _step(self, out: list[Emission]) -> None:
        try:
            step = self._scheduler.schedule()
        except Exception as error:
            logger.exception("no step could be made")
            self._end(self._to_blame(), FinishReason.ERROR, _said(error), out)
            self._scheduler.check()
            return
        self._journal.scheduled(self._scheduler)
        if step:
            self._compute(step, out)
        elif self.has_work:
            self._refuse(self._to_blame()[0], out)

    def _to_blame(self) -> list[Request]:
        """Whom the scheduler was busy with; if nobody, those that would have been in the step."""
        handled, self._scheduler.handled = self._scheduler.handled, None
        return [handled] if handled is not None else list(self._scheduler.running) or self._scheduler.waiting[:1]

    def _refuse(self, request: Request, out: list[Emission]) -> None:
        """Fail a request that cannot run although nothing else does: it would wait for ever."""
        logger.error("request %d was let in and can never run; this is a defect", request.id)
        error = CapacityError(request.num_tokens + 1, request.limits.longest, request.limits.kv_setting)
        self._end([request], FinishReason.ERROR, _said(error), out)

    def _compute(self, step: Step, out: list[Emission]) -> None:
        drawing = [part.request for part in step if part.samples]
        try:
            drawn = self._runner.run(step)
            if len(drawn) != len(drawing):
                raise RuntimeError(f"{len(drawn)} tokens were drawn for {len(drawing)} requests")
            self._scheduler.advance(step)
        except Exception as error:
            logger.exception("a step of %d requests failed", len(step))
            self._end([part.request for part in step], FinishReason.ERROR, _said(error), out)
            self._journal.step_ends(step, _said(error))
            return
        self._journal.computed(step)
        now = time.monotonic()
        for request, its in zip(drawing, drawn, strict=True):
            self._accept(request, its, now, out)
        for request, _, _ in step:
            if request.pool is not None and request.pool.done:
                fault = request.pool.error
                self._end([request], FinishReason.STOP if fault is None else FinishReason.ERROR, fault, out)
        self._journal.step_ends(step)

    def _accept(self, request: Request, drawn: Drawn, now: float, out: list[Emission]) -> None:
        if drawn.error is not None:
            self._end([request], FinishReason.ERROR, drawn.error, out)
            return
        try:
            chunk = request.accept(drawn.token, drawn.logprob)
        except Exception as error:
            logger.exception("request %d failed", request.id)
            self._end([request], FinishReason.ERROR, _said(error), out)
            return
        self._journal.drew(request, now, len(chunk.tokens))
        self._emit(request, chunk, out)
        if chunk.output is not None:
            self._scheduler.release(request)

    def _end(self, requests: Iterable[Request], reason: FinishReason, error: str | None, out: list[Emission]) -> None:
        for request in requests:
            self._emit(request, request.end(reason, error), out)
            self._scheduler.release(request)

    def _emit(self, request: Request, chunk: GenerationChunk, out: list[Emission]) -> None:
        out.append((request, chunk))
        if chunk.output is not None:
            self._journal.ended(request, chunk.output)
            self._forget(request)

    def _forget(self, request: Request) -> None:
        try:
            self._runner.forget(request.id)
        except Exception:
            logger.exception("what the runner keeps of request %d could not be dropped", request.id)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
