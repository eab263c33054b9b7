"""Who runs in the next step, and what becomes of what it computed. No torch here.

One step mixes answers that go on with chunks of prompts, under one token budget. Answers go first, and each gets at
least one token: a long prompt delays them by no more than one chunk. What is left goes to prompts, whether they run
already or still wait: smaller `priority` first, then earlier arrival. Nobody is overtaken for want of room.

A request whose prefix is being computed in the very step that is made waits for it, one step and no longer; its place
is kept. It never waits for anything else than a step that is under way, so whatever befalls the other one, it goes on.

When a running sequence needs a block and none is free, the least urgent running one is preempted: it gives back all it
holds. The host's memory keeps what it computed, if there is room; else it is computed again later. The most urgent one
always goes on, so the whole always does.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import NamedTuple

from ..types import GenerationChunk
from .kv import KVBlocks, Prefix
from .request import Request


class Slice(NamedTuple):
    """Tokens `start` to `stop` of one request, to be computed in this step."""

    request: Request
    start: int
    stop: int

    @property
    def samples(self) -> bool:
        """Whether this slice ends with the request's last known token, so that the next one can be drawn."""
        request = self.request
        return self.stop == len(request.prompt) + len(request.generated) and request.pool is None

    @property
    def may_sample(self) -> bool:
        """Whether the next token can be drawn after this slice, as far as is known while a step is under way."""
        request = self.request
        return self.stop >= len(request.prompt) + len(request.generated) and request.pool is None

    @property
    def is_alive(self) -> bool:
        """Whether the request is unfinished."""
        return self.request.finish_reason is None


Step = tuple[Slice, ...]
"""What one forward pass computes; at most one slice per request."""

Emission = tuple[Request, GenerationChunk]
"""A chunk and whose it is."""


Urgency = tuple[int, int]


def urgency(request: Request) -> Urgency:
    """Sorts requests, the most urgent first."""
    return request.params.priority, request.id


class Scheduler:
    """Holds all unfinished requests: `schedule` says what to compute, `advance` that it was, `release` lets one go."""

    def __init__(
        self, kv: KVBlocks, *, max_batch_size: int, chunk_size: int | None, mixed_chunk_size: int | None = None
    ) -> None:
        """`chunk_size`: the most tokens of a step, None for prompts that are never cut.

        `mixed_chunk_size`: the most tokens of prompts in a step that goes on with answers too, None for no limit.
        """
        self.kv, self._max_batch_size, self._chunk_size = kv, max_batch_size, chunk_size
        self._mixed_chunk_size = mixed_chunk_size
        self.preemptions = 0
        self.prefix_lookup_tokens = self.prefix_hit_tokens = 0
        self.reset()

    def reset(self) -> None:
        """Drop every request and make the books of the memory anew."""
        self.waiting: list[Request] = []
        """The most urgent first."""
        self.running: list[Request] = []
        """The most urgent first."""
        self._unfinished: dict[int, Request] = {}
        self._is_running: set[int] = set()
        self.started: list[Request] = []
        """Those that the last `schedule` let run for the first time."""
        self.preempted: list[Request] = []
        """Those that the last `schedule` preempted."""
        self._lacking: tuple[int | None, list[int]] = None, []
        """Who found no room last, and what it needed."""
        self.handled: Request | None = None
        """Whom `schedule` was busy with; if it raises, the one to blame."""
        self._under_way: dict[int, Slice] = {}
        """What is being computed while `schedule` makes the step after it."""
        self._must_wait = False
        self._retired: list[Request] = []
        """Those that ended, but are still in a step under way."""
        self.kv.reset()

    def add(self, request: Request) -> None:
        """Let a request wait for its turn."""
        self._unfinished[request.id] = request
        insort(self.waiting, request, key=urgency)

    def find(self, request_id: int) -> Request | None:
        """The unfinished request with this id."""
        return self._unfinished.get(request_id)

    def requests(self) -> list[Request]:
        """All unfinished requests, the most urgent first within running and within waiting."""
        return [*self.running, *self.waiting]

    def schedule(self, under_way: Step = ()) -> Step:
        """What to compute next; empty if there is nothing to do.

        `under_way` is being computed now: whoever draws in it goes on with a token that is not known yet. Nobody is
        preempted for a step after it, which is empty if there is no room without.
        """
        self.started, self.preempted = [], []
        self._under_way, self._must_wait = {part.request.id: part for part in under_way if part.is_alive}, False
        slices: dict[int, Slice] = {}
        answers: list[tuple[Request, int]] = []
        prompts: list[Request] = []
        for request in self.running:
            if left := self._num_left(request):
                if request.num_computed >= len(request.prompt):
                    answers.append((request, left))
                else:
                    prompts.append(request)
        budget = self._budget(len(answers))
        for request, left in answers:
            budget -= self._extend(request, left, budget if budget > 1 else 1, slices) - 1
        budget = max(budget, 1)
        if answers and self._chunk_size is not None and self._mixed_chunk_size is not None:
            budget = min(budget, self._mixed_chunk_size)
        for request in prompts:
            budget = self._admit(budget, slices, before=urgency(request))
            budget -= self._extend(request, self._num_left(request), budget, slices)
        self._admit(budget, slices)
        self.handled = None
        return () if self._must_wait else tuple(slices.values())

    def _budget(self, num_answers: int) -> int:
        """Tokens that this step may compute beside one of each answer."""
        if self._chunk_size is None:
            has_place = len(self.running) < self._max_batch_size
            return max((request.num_tokens for request in self.waiting), default=0) if has_place else 0
        return max(self._chunk_size - num_answers, 0)

    def _extend(self, request: Request, length: int, budget: int, slices: dict[int, Slice]) -> int:
        """Give a running request the blocks for its next `length` tokens and a slice, as far as the budget reaches; the
        tokens it got.
        """
        if request.id not in self._is_running or request.id in slices:
            return 0
        self.handled = request
        if self._chunk_size is not None and length > budget:
            length = budget
        if length <= 0:
            return 0
        start = request.num_computed
        stop = start + length
        since = self._under_way[request.id].start if request.id in self._under_way else None
        while not self.kv.extend(request, stop, since=since):
            if self._under_way:
                self._must_wait = True
                return 0
            victim = self.running[-1]
            self._preempt(victim)
            slices.pop(victim.id, None)
            if victim is request:
                return 0
        slices[request.id] = Slice(request, start, stop)
        return length

    def _num_left(self, request: Request) -> int:
        """Tokens of a request that can be computed now, with the one that the step under way draws if it goes on."""
        left = len(request.prompt) + len(request.generated) - request.num_computed
        if not self._under_way:
            return left
        part = self._under_way.get(request.id)
        return left + (part is not None and part.samples and not request.ends_with_next)

    def _admit(self, budget: int, slices: dict[int, Slice], before: Urgency | None = None) -> int:
        """Start waiting requests in their order, while there is room and budget; the budget that is left.

        `before`: only those that are more urgent.
        """
        index = 0
        coming: set[bytes] | None = None
        reserved: list[int] | None = None
        while budget > 0 and index < len(self.waiting) and len(self.running) + index < self._max_batch_size:
            self.handled = request = self.waiting[index]
            if self._must_wait or (before is not None and urgency(request) > before) or self._still_lacks(request):
                break
            coming = self._coming(slices) | self._coming(self._under_way) if coming is None else coming
            prefix = self.kv.match(request, coming)
            if prefix.grows:
                needs = self.kv.needs(request, prefix, self._chunk_size)
                reserved = [sum(pair) for pair in zip(reserved or [0] * len(needs), needs, strict=True)]
                index += 1
                continue
            if self._chunk_size is None and request.num_tokens - prefix.num_tokens > budget:
                break
            if not self.kv.admit(request, prefix, self._chunk_size, reserved):
                self._lacking = request.id, self.kv.needs(request, prefix, self._chunk_size)
                break
            self._start(index, prefix)
            budget -= self._extend(request, self._num_left(request), budget, slices)
            coming |= self._coming({request.id: slices[request.id]} if request.id in slices else {})
        return budget

    def _still_lacks(self, request: Request) -> bool:
        """Whether a request that found no room last time would find none again; far cheaper than to match it anew."""
        return self._lacking[0] == request.id and not self.kv.has_free(self._lacking[1])

    def _coming(self, slices: Mapping[int, Slice]) -> set[bytes]:
        """The keys of the blocks that these slices fill."""
        if not self.kv.prefix_cache:
            return set()
        return {key for part in slices.values() for key in self.kv.filled_keys(part.request, part.start, part.stop)}

    def _start(self, index: int, prefix: Prefix) -> None:
        """Let the waiting request at this place run, after its prefix."""
        request = self.waiting.pop(index)
        insort(self.running, request, key=urgency)
        self._is_running.add(request.id)
        if request.num_cached is None:
            request.num_cached = prefix.num_tokens
            self.prefix_lookup_tokens += request.num_tokens if self.kv.prefix_cache else 0
            self.prefix_hit_tokens += prefix.num_tokens
            self.started.append(request)

    def _preempt(self, request: Request) -> None:
        """Take back what the least urgent running request holds, and let it wait; what fits is kept by the host."""
        self.running.pop()
        self._is_running.discard(request.id)
        insort(self.waiting, request, key=urgency)
        self.kv.swap_out(request)
        self.kv.release(request)
        self.preemptions += 1
        self.preempted.append(request)

    def advance(self, step: Step) -> None:
        """Note that a step was computed: its full blocks may be shared from now on."""
        for request, start, stop in step:
            request.num_computed = stop
            self.kv.register(request, start, stop)

    def launched(self, step: Step) -> None:
        """Note that a step is under way: the next one begins where it ends."""
        for request, _, stop in step:
            request.num_computed = stop

    def landed(self, step: Step) -> None:
        """Note that a step under way was computed: its full blocks may be shared from now on."""
        for request, start, stop in step:
            if request.id in self._is_running:
                self.kv.register(request, start, stop)

    def settle(self) -> None:
        """Take back what requests held that ended while a step with them was under way."""
        retired, self._retired = self._retired, []
        for request in retired:
            self.kv.release(request)

    def retire(self, request: Request) -> None:
        """Let a request go that is in a step under way; it holds its blocks until that has landed."""
        self._leave(request)
        self._retired.append(request)

    def release(self, request: Request) -> None:
        """Let a request go and take back what it holds."""
        self._leave(request)
        self.kv.release(request)

    def _leave(self, request: Request) -> None:
        del self._unfinished[request.id]
        self.kv.drop_swapped(request)
        queue = self.running if request.id in self._is_running else self.waiting
        del queue[bisect_left(queue, urgency(request), key=urgency)]
        self._is_running.discard(request.id)

    def check(self) -> None:
        """Raise RuntimeError if the books of requests and memory contradict each other; for tests and after a fault."""
        ids = [request.id for request in self.requests()]
        if sorted(ids) != sorted(self._unfinished) or {request.id for request in self.running} != self._is_running:
            raise RuntimeError("the queues are not what the scheduler has noted of them")
        self.kv.check([*self.running, *self._retired], self.waiting)
