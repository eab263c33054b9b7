"""`Journal`: what happened, as numbers for `stats()` and as events for subscribers. No torch here."""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from ..events import (
    FirstToken,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    RequestStarted,
    StepFinished,
    Subscribers,
)
from ..stats import DURATION_BOUNDS, STUCK_SECONDS, EngineStats, Histogram
from ..types import GenerationOutput
from .request import Request
from .scheduler import Scheduler, Step
from .swap import Move

logger = logging.getLogger(__name__)


class Durations:
    """Durations of one kind, in seconds, counted in fixed buckets."""

    def __init__(self) -> None:
        self._counts = [0] * (len(DURATION_BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self._sum += seconds

    def histogram(self) -> Histogram:
        """What was counted so far."""
        return Histogram(counts=tuple(accumulate(self._counts)), sum=self._sum)


class Journal:
    """Told by the stepper what happens, on one thread; any thread may ask for `stats`."""

    def __init__(self, subscribers: Subscribers) -> None:
        """`subscribers` are told of every event."""
        self._subscribers = subscribers
        self._num_steps = self._prompt_tokens = self._generated_tokens = 0
        self._swaps, self._swapped_blocks = [0, 0], [0, 0]  # out, and back
        self._queue, self._first_token, self._inter_token = Durations(), Durations(), Durations()
        self._step_began: float | None = None

    def queued(self, request: Request) -> None:
        """A request was taken in."""
        if self._subscribers:
            prompt, priority = len(request.prompt), request.params.priority
            self._subscribers.tell(RequestQueued(request_id=request.id, prompt_tokens=prompt, priority=priority))

    def step_begins(self) -> None:
        """From here on the step is running."""
        self._step_began = time.monotonic()

    def scheduled(self, scheduler: Scheduler) -> None:
        """The scheduler has said what to compute."""
        for request in scheduler.preempted:
            if self._subscribers:
                self._subscribers.tell(RequestPreempted(request_id=request.id))
        for request in scheduler.started:
            request.started = time.monotonic()
            waited = request.started - request.arrived
            self._queue.add(waited)
            if self._subscribers:
                cached = request.num_cached or 0
                event = RequestStarted(request_id=request.id, cached_tokens=cached, queue_seconds=waited)
                self._subscribers.tell(event)

    def moved(self, moves: Sequence[Move]) -> None:
        """Blocks were copied between the cache and the host's memory."""
        for move in moves:
            self._swaps[move.back] += 1
            self._swapped_blocks[move.back] += sum(map(len, move.pairs))

    def computed(self, step: Step) -> None:
        """A step's tokens were computed."""
        for request, start, stop in step:
            if start < (length := len(request.prompt)):
                self._prompt_tokens += min(stop, length) - start

    def drew(self, request: Request, now: float, num_tokens: int) -> None:
        """A token was drawn for a request, and those came that had to follow it: `num_tokens` in all."""
        self._generated_tokens += num_tokens
        if (before := request.last_token) is not None:
            self._inter_token.add(now - before)
        else:
            self._first_token.add(now - request.arrived)
            if self._subscribers:
                self._subscribers.tell(FirstToken(request_id=request.id, seconds=now - request.arrived))
        request.last_token = now

    def ended(self, request: Request, output: GenerationOutput) -> None:
        """A request ended."""
        if self._subscribers:
            reason, error = output.finish_reason, output.error
            event = RequestFinished(request_id=request.id, finish_reason=reason, error=error, stats=output.stats)
            self._subscribers.tell(event)

    def step_ends(self, step: Step, error: str | None = None) -> None:
        """A step was computed and its tokens were taken, or it failed."""
        self._num_steps += 1
        seconds = time.monotonic() - self._step_began if self._step_began is not None else 0.0
        if seconds > STUCK_SECONDS:
            logger.warning("a step of %d requests took %.0f seconds", len(step), seconds)
        if self._subscribers:
            num_tokens = sum(part.stop - part.start for part in step)
            event = StepFinished(seconds=seconds, num_requests=len(step), num_tokens=num_tokens, error=error)
            self._subscribers.tell(event)

    def idles(self) -> None:
        """No step is running any more."""
        self._step_began = None

    def stats(self, scheduler: Scheduler) -> EngineStats:
        """A snapshot; any thread may ask."""
        kv, began = scheduler.kv, self._step_began
        return EngineStats(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            kv_blocks_total=kv.num_blocks,
            kv_blocks_used=kv.num_used,
            kv_blocks_cached=kv.num_cached,
            block_size=kv.block_size,
            prefix_lookup_tokens=scheduler.prefix_lookup_tokens,
            prefix_hit_tokens=scheduler.prefix_hit_tokens,
            preemptions=scheduler.preemptions,
            swaps_out=self._swaps[False],
            swaps_in=self._swaps[True],
            blocks_swapped_out=self._swapped_blocks[False],
            blocks_swapped_in=self._swapped_blocks[True],
            host_blocks_total=kv.num_host_blocks,
            host_blocks_used=kv.num_host_blocks_used,
            prompt_tokens=self._prompt_tokens,
            generated_tokens=self._generated_tokens,
            steps=self._num_steps,
            step_seconds=time.monotonic() - began if began is not None else 0.0,
            queue_seconds=self._queue.histogram(),
            first_token_seconds=self._first_token.histogram(),
            inter_token_seconds=self._inter_token.histogram(),
        )
