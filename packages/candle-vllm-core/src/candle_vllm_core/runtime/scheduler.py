"""Who runs in the next step, and what becomes of what it computed. No torch here.

One step mixes sequences that decode (one token each) with chunks of prompts, under one token budget. Decodes go first:
a long prompt delays a running answer by no more than one chunk. Smaller `priority` goes first, then earlier arrival.

When a running sequence needs a block and none is free, the least urgent running one is preempted: it gives back all it
holds and is computed again later. The most urgent one always goes on, so the whole always does.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

from ..types import GenerationChunk
from .kv import KVBlocks
from .request import Request


@dataclass(frozen=True, slots=True)
class Slice:
    """Tokens `start` to `stop` of one request, to be computed in this step."""

    request: Request
    start: int
    stop: int

    @property
    def samples(self) -> bool:
        """Whether this slice ends with the request's last known token, so that the next one can be drawn."""
        return self.stop == self.request.num_tokens


Step = tuple[Slice, ...]
"""What one forward pass computes; at most one slice per request."""

Emission = tuple[Request, GenerationChunk]
"""A chunk and whose it is."""


def _urgency(request: Request) -> tuple[int, int]:
    return request.params.priority, request.id


class Scheduler:
    """Holds all unfinished requests: `schedule` says what to compute, `advance` that it was, `release` lets one go."""

    def __init__(self, kv: KVBlocks, *, max_batch_size: int, chunk_size: int | None) -> None:
        """`chunk_size`: the most tokens of a step, None for prompts that are never cut."""
        self.kv, self._max_batch_size, self._chunk_size = kv, max_batch_size, chunk_size
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.preemptions = 0
        self.prefix_hit_tokens = 0

    def add(self, request: Request) -> None:
        """Let a request wait for its turn."""
        insort(self.waiting, request, key=_urgency)

    def find(self, request_id: int) -> Request | None:
        """The unfinished request with this id."""
        return next((request for request in self.requests() if request.id == request_id), None)

    def requests(self) -> list[Request]:
        """All unfinished requests, the most urgent first within running and within waiting."""
        return [*self.running, *self.waiting]

    def schedule(self) -> Step:
        """What to compute next; empty if there is nothing to do."""
        slices: dict[int, Slice] = {}
        for request in [request for request in self.running if request.num_uncomputed == 1]:
            self._extend(request, 1, slices)
        budget = self._prefill_budget(len(slices))
        for request in [request for request in self.running if request.num_uncomputed > 1]:
            budget -= self._extend(request, min(request.num_uncomputed, budget), slices)
        while budget > 0 and (admitted := self._admit(budget)) is not None:
            budget -= self._extend(admitted, min(admitted.num_uncomputed, budget), slices)
        return tuple(slices.values())

    def _prefill_budget(self, num_decodes: int) -> int:
        """Prompt tokens that this step may compute; at least one, so that prompts never starve."""
        if self._chunk_size is None:
            return max((request.num_uncomputed for request in self.requests()), default=0)
        return max(self._chunk_size - num_decodes, 1)

    def _extend(self, request: Request, length: int, slices: dict[int, Slice]) -> int:
        """Give a running request the blocks for `length` more tokens and a slice; the tokens it got."""
        if length <= 0 or request not in self.running:
            return 0
        stop = request.num_computed + length
        while not self.kv.extend(request, stop):
            victim = self.running[-1]
            self._preempt(victim)
            slices.pop(victim.id, None)
            if victim is request:
                return 0
        slices[request.id] = Slice(request, request.num_computed, stop)
        return length

    def _admit(self, budget: int) -> Request | None:
        """Start the most urgent waiting request, if there is room for all of its tokens and one more."""
        if not self.waiting or len(self.running) >= self._max_batch_size:
            return None
        request = self.waiting[0]
        prefix = self.kv.match(request)
        if self._chunk_size is None and request.num_tokens - prefix.num_tokens > budget:
            return None
        if not self.kv.admit(request, prefix, self._chunk_size):
            return None
        self.waiting.pop(0)
        insort(self.running, request, key=_urgency)
        if request.num_cached is None:
            request.num_cached = prefix.num_tokens
            self.prefix_hit_tokens += prefix.num_tokens
        return request

    def _preempt(self, request: Request) -> None:
        self.running.remove(request)
        self.kv.release(request)
        insort(self.waiting, request, key=_urgency)
        self.preemptions += 1

    def advance(self, step: Step) -> None:
        """Note that a step was computed: its full blocks may be shared from now on."""
        for part in step:
            part.request.num_computed = part.stop
            self.kv.register(part.request, part.start, part.stop)

    def release(self, request: Request) -> None:
        """Let a request go and take back what it holds."""
        (self.running if request in self.running else self.waiting).remove(request)
        self.kv.release(request)
