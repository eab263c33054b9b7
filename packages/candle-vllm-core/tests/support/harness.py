"""A stepper over a null runner, and what must hold after each of its steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from late_runner import LateRunner
from null_runner import NullRunner, alone, make_request

from candle_vllm_core.events import EngineEvent, Subscribers
from candle_vllm_core.runtime.ahead import AheadStepper
from candle_vllm_core.runtime.kv import FREED, KVBlocks, KVSizes
from candle_vllm_core.runtime.pool import Pool
from candle_vllm_core.runtime.request import Request
from candle_vllm_core.runtime.scheduler import Scheduler, Step, urgency
from candle_vllm_core.runtime.stepper import Stepper
from candle_vllm_core.types import GenerationChunk, GenerationOutput, GenerationParams, Pooling


class Watched(Scheduler):
    """A scheduler that keeps the last step that it made."""

    made: Step = ()

    def schedule(self, under_way: Step = ()) -> Step:
        self.made = super().schedule(under_way)
        return self.made


class Harness:
    """A stepper over a null runner, and everything that came out of it."""

    def __init__(
        self,
        num_blocks: int = 16,
        block_size: int = 4,
        batch: int = 4,
        chunk: int | None = 8,
        more: Mapping[int, int] | None = None,
        recurrent: bool = False,
        whole: bool = True,
        longest: int = 10_000,
        cache: bool = True,
        ahead: bool = False,
        host_blocks: int = 0,
        host_states: int = 0,
    ) -> None:
        """`more` groups have a window, and so many blocks; without `whole` they are alone.

        `ahead`: a step is made while the one before is computed, as late as a device may. `host_blocks` of each group
        and `host_states` are there for those that are preempted.
        """
        groups = ({None: num_blocks} if whole else {}) | (more or {})
        self.sizes = KVSizes(
            block_size=block_size,
            windows=tuple(groups),
            num_blocks=tuple(groups.values()),
            num_states=batch if recurrent else 0,
        )
        self.has_states, self.chunk = recurrent, chunk
        self.kv = KVBlocks(self.sizes, prefix_cache=cache, host_blocks=host_blocks, host_states=host_states)
        self.runner = LateRunner(self.sizes) if ahead else NullRunner(self.sizes)
        self.runner.watch = self.check_writes
        self.scheduler = Watched(self.kv, max_batch_size=batch, chunk_size=chunk)
        self.events: list[EngineEvent] = []
        subscribers = Subscribers()
        subscribers.add(self.events.append)
        self.stepper = (
            AheadStepper(self.scheduler, self.runner, subscribers)
            if isinstance(self.runner, LateRunner)
            else Stepper(self.scheduler, self.runner, subscribers)
        )
        self.capacity = min(self.sizes.longest(chunk or longest) or longest, longest)
        self.prompts: dict[int, list[int]] = {}
        self.chunks: dict[int, list[GenerationChunk]] = {}

    def add(
        self, prompt: Iterable[int], params: GenerationParams | None = None, pooling: Pooling | None = None
    ) -> Request:
        tokens = list(prompt)
        request = make_request(len(self.prompts) + 1, tokens, params, limit=self.capacity)
        request.pool = Pool.of(pooling, len(tokens)) if pooling is not None else None
        self.prompts[request.id], self.chunks[request.id] = tokens, []
        self.stepper.add(request)
        return request

    def take(self, emissions: list[tuple[Request, GenerationChunk]]) -> None:
        for request, chunk in emissions:
            self.chunks[request.id].append(chunk)

    def cancel(self, request: Request) -> None:
        self.take(self.stepper.cancel(request.id))

    def step(self, *, whole: bool = False) -> dict[int, int]:
        """Compute a step; how many tokens of each request were in it."""
        steps = len(self.runner.steps)
        self.take(self.stepper.step(whole=whole))
        made = self.runner.steps[steps:]
        return {part.request.id: part.stop - part.start for step in made for part in step}

    @property
    def under_way(self) -> bool:
        """Whether a step was launched and has not landed."""
        return isinstance(self.stepper, AheadStepper) and self.stepper._flight is not None

    def run(self) -> None:
        while self.stepper.has_work:
            self.step()

    def output(self, request: Request) -> GenerationOutput:
        output = self.chunks[request.id][-1].output
        assert output is not None
        return output

    def tokens(self, request: Request) -> list[int]:
        return [token for chunk in self.chunks[request.id] for token in chunk.tokens]

    def check(self) -> None:
        """The books add up, nobody saw what another one wrote, and nobody was overtaken."""
        self.scheduler.check()
        assert all(not request.block_tables and request.state_slot is None for request in self.scheduler.waiting)
        for pool in (group.pool for group in self.kv._groups):
            assert pool.num_used + pool.num_free == pool.num_blocks
            assert FREED not in pool._key_of, "a block that slid away is in the prefix cache"
        assert self.runner.wrong == []

    def check_writes(self, step: Step) -> None:
        """No block that is written belongs to two, or may be given to others already."""
        if step is self.scheduler.made:  # not where a step is computed again in halves
            self.check_order(step)
        for request in self.scheduler.requests():
            known = request.num_tokens // self.sizes.block_size
            assert len(request.block_keys) <= known, "a block has a key before its tokens are known"
        for index, group in enumerate(self.kv._groups):
            holders = [*self.scheduler.running, *self.scheduler._retired]
            tables = [request.block_tables[index] for request in holders]
            held = Counter(block for table in tables for block in table if block != FREED)
            for part in step:
                last = -(-part.stop // self.sizes.block_size)
                for block in part.request.block_tables[index][part.start // self.sizes.block_size : last]:
                    assert held[block] == 1, "a block that is written has two owners"
                    assert block not in group.pool._key_of, "a block that is written is in the prefix cache"

    def check_order(self, step: Step) -> None:
        """Who goes first, and how much of a step anybody gets."""
        running, waiting = self.scheduler.running, self.scheduler.waiting
        preempted = {request.id for request in self.scheduler.preempted}
        assert not preempted & set(self.scheduler._under_way), "somebody was preempted in a step under way"
        assert running == sorted(running, key=urgency), "those that run are out of order"
        assert waiting == sorted(waiting, key=urgency), "those that wait are out of order"
        answers = [request for request in running if request.num_computed >= len(request.prompt) and goes_on(request)]
        first = next(request for request in running if goes_on(request))
        assert first in [part.request for part in step], "the most urgent one always goes on"
        assert set(answers) <= {part.request for part in step}, "every answer goes on in every step"
        if self.chunk is not None:
            most = max(self.chunk, len(answers) + 1)
            assert sum(part.stop - part.start for part in step) <= most, "a step is larger than it may be"
        under_way = self.scheduler._under_way.values()
        coming = {key for p in (*step, *under_way) for key in self.kv.filled_keys(p.request, p.start, p.stop)}
        for started in self.scheduler.started:
            for other in waiting:
                overtaken = urgency(other) < urgency(started)
                assert not overtaken or coming & set(other.block_keys), "a request was overtaken"

    def check_answers(self) -> None:
        for number, chunks in self.chunks.items():
            tokens = [token for chunk in chunks for token in chunk.tokens]
            right = alone(self.prompts[number], len(tokens), self.sizes.windows, self.has_states)
            assert tokens == right, "an answer differs from the one it gives alone"


def goes_on(request: Request) -> bool:
    """Whether anything is left to be computed for it, whatever the step under way draws."""
    return request.num_uncomputed > 0 or not (request.ends_with_next or request.pool is not None)


def lengths(step: Step) -> dict[int, int]:
    return {part.request.id: part.stop - part.start for part in step}


def same(count: int, tokens: Sequence[int]) -> list[list[int]]:
    return [list(tokens) for _ in range(count)]
