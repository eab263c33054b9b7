"""`Stepper`: one step after the other, on one thread; what fails, fails alone. No torch here.

| what raises | what fails |
| --- | --- |
| a request's own work: its row of the sampler, its detokenizer, its sink | that request |
| the scheduler | the request it was busy with |
| the runner, or noting what it computed | the requests of that step |
| the runner, for want of memory | the step is computed again in halves; who finds none alone, fails |
| giving memory back, or anything else that should not | all unfinished requests; the books are made anew |

Whatever fails gets its last chunk, its memory is given back, and the next step is computed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from ..errors import CapacityError
from ..events import Subscribers
from ..stats import EngineStats
from ..types import FinishReason, GenerationChunk
from .journal import Journal
from .request import Drawn, Request
from .scheduler import Emission, Scheduler, Slice, Step
from .swap import Move

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """What computes steps."""

    def run(self, step: Step) -> list[Drawn]:
        """Compute a step and draw a token for each of its slices that `samples`, in their order.

        Raises:
            MemoryError: the device has too little memory for it; a smaller one may find enough.
        """
        ...

    def move(self, moves: Sequence[Move]) -> None:
        """Copy blocks between the cache and the host's memory, in this order, before anything else is computed."""
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

    def step(self, *, whole: bool = False) -> list[Emission]:
        """Compute one step; an exception in it fails the requests in it and no others.

        `whole`: nothing is under way any more when this returns, as it never is here.
        """
        self._journal.step_begins()
        emissions = self._guarded(lambda out: self._step(out, whole))
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
            self._reset()
            for request in left:
                self._emit(request, request.end(FinishReason.ERROR, said(error)), out)
        return out

    def _reset(self) -> None:
        self._scheduler.reset()

    def _step(self, out: list[Emission], whole: bool) -> None:
        step = self._schedule(out)
        if step:
            self._compute(step, out)

    def _schedule(self, out: list[Emission], under_way: Step = ()) -> Step:
        """The next step; empty if there is none, and then whoever is to blame for that has failed.

        Unless there is one under way: after that there may be one.
        """
        try:
            step = self._scheduler.schedule(under_way)
        except Exception as error:
            logger.exception("no step could be made")
            self._end(self._to_blame(), FinishReason.ERROR, said(error), out)
            self._move(out)
            self._scheduler.check()
            return ()
        self._journal.scheduled(self._scheduler)
        moved = self._move(out)
        if not step and not under_way and self.has_work:
            self._refuse(self._to_blame()[0], out)
        return step if moved else tuple(part for part in step if part.is_alive)

    def _move(self, out: list[Emission]) -> bool:
        """Make the moves that the scheduler has noted; where that fails, whoever waits for its blocks fails."""
        moves = self._scheduler.kv.take_moves()
        try:
            if moves:
                self._runner.move(moves)
        except Exception as error:
            logger.exception("%d requests could not be moved between the device's memory and the host's", len(moves))
            back = {move.request.id: move.request for move in moves if move.back}
            for move in moves:
                self._scheduler.kv.drop_swapped(move.request)
            self._end([its for its in back.values() if its.finish_reason is None], FinishReason.ERROR, said(error), out)
            return False
        self._journal.moved(moves)
        return True

    def _to_blame(self) -> list[Request]:
        """Whom the scheduler was busy with; if nobody, those that would have been in the step."""
        handled, self._scheduler.handled = self._scheduler.handled, None
        return [handled] if handled is not None else list(self._scheduler.running) or self._scheduler.waiting[:1]

    def _refuse(self, request: Request, out: list[Emission]) -> None:
        """Fail a request that cannot run although nothing else does: it would wait for ever."""
        logger.error("request %d was let in and can never run; this is a defect", request.id)
        error = CapacityError(request.num_tokens + 1, request.limits.longest, request.limits.kv_setting)
        self._end([request], FinishReason.ERROR, said(error), out)

    def _compute(self, step: Step, out: list[Emission]) -> None:
        drawing = [part.request for part in step if part.samples]
        try:
            drawn = self._runner.run(step)
            if len(drawn) != len(drawing):
                raise RuntimeError(f"{len(drawn)} tokens were drawn for {len(drawing)} requests")
            self._scheduler.advance(step)
        except Exception as error:
            self._fail_step(step, error, out)
            return
        self._take(step, drawing, drawn, out)

    def _fail_step(self, step: Step, error: Exception, out: list[Emission]) -> None:
        """End the requests of a step that failed; one that found no memory is computed again in halves."""
        logger.error("a step of %d requests failed", len(step), exc_info=error)
        again = list(_halves(step)) if isinstance(error, MemoryError) else []
        spoilt = step if len(again) < 2 else [part for part in step if not _can_repeat(part)]
        self._end([part.request for part in spoilt], FinishReason.ERROR, said(error), out)
        self._journal.step_ends(step, said(error))
        for half in again if len(again) > 1 else ():
            if left := tuple(part for part in half if part.is_alive):
                self._compute(left, out)

    def _take(self, step: Step, drawing: Iterable[Request], drawn: Iterable[Drawn], out: list[Emission]) -> None:
        """Give the requests of a step that was computed what it drew for them."""
        self._journal.computed(step)
        now = time.monotonic()
        for request, its in zip(drawing, drawn, strict=True):
            self._accept(request, its, now, out)
        for request, _, _ in step:
            if request.pool is not None and request.pool.done and request.finish_reason is None:
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
            self._end([request], FinishReason.ERROR, said(error), out)
            return
        self._journal.drew(request, now, len(chunk.tokens))
        if chunk.output is None:
            out.append((request, chunk))
        else:
            self._emit(request, chunk, out)
            self._let_go(request)

    def _let_go(self, request: Request) -> None:
        self._scheduler.release(request)

    def _end(self, requests: Iterable[Request], reason: FinishReason, error: str | None, out: list[Emission]) -> None:
        for request in requests:
            self._emit(request, request.end(reason, error), out)
            self._let_go(request)

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


def said(error: Exception) -> str:
    """An exception as the error of those that it fails."""
    return f"{type(error).__name__}: {error}"


def _halves(step: Step) -> Iterator[Step]:
    """A step in two: half of its slices each, or half of the tokens of its only one; what cannot be cut, as it is."""
    middle = len(step) // 2
    [first, *_] = step
    if middle:
        yield from (step[:middle], step[middle:])
    elif first.stop - first.start > 1:
        cut = (first.start + first.stop) // 2
        yield from ((first._replace(stop=cut),), (first._replace(start=cut),))
    else:
        yield step


def _can_repeat(part: Slice) -> bool:
    """Whether a slice may be computed twice: a recurrent state that it went on with may have been changed already."""
    return part.request.state_slot is None or part.start == 0
