"""A null runner that computes as late as a device may: what is launched is done when somebody waits for it, in order.

What it computes with was copied when the step was prepared: tokens, blocks and states. So whoever gives a block away
too early, or lets a step know a token that only the device has, gets a wrong answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from null_runner import POISON, VOCAB, NullRunner, after, drawn, first_seen

from candle_vllm_core.runtime.kv import FREED, KVSizes
from candle_vllm_core.runtime.pooling import pool_rows
from candle_vllm_core.runtime.request import Drawn, Request
from candle_vllm_core.runtime.scheduler import Slice, Step
from candle_vllm_core.runtime.swap import Move


@dataclass(frozen=True)
class Copied:
    """A slice as it was when its step was prepared."""

    request: int
    start: int
    stop: int
    tokens: list[int]
    """All of the sequence that was known."""
    row: int | None
    """Where the token that was not known is among those drawn by the step before."""
    tables: list[list[int]]
    state: int | None
    may_sample: bool


class LateRunner(NullRunner):
    """See the module."""

    def __init__(self, sizes: KVSizes) -> None:
        super().__init__(sizes)
        self.stream: deque[Callable[[], None]] = deque()

    def run(self, step: Step) -> list[Drawn]:
        self.sync()
        return super().run(step)

    def copy(self, moves: Sequence[Move]) -> None:
        self.stream.append(lambda: super(LateRunner, self).copy(moves))

    def prepare(self, step: Step, drawing: Sequence[Request]) -> LatePrepared:
        try:
            self.watch(step)
        except AssertionError as error:
            self.wrong.append(str(error))
        self.fault(step)
        self.steps.append(step)
        rows = {request.id: row for row, request in enumerate(drawing)}
        return LatePrepared(self, step, [copied(part, rows) for part in step])

    def sync(self) -> None:
        """Wait for the device."""
        while self.stream:
            self.stream.popleft()()

    def compute(self, part: Copied, before: Sequence[int]) -> int:
        """Write a slice's tokens and read what its last one sees; what it draws."""
        tokens = part.tokens if part.row is None else [*part.tokens, max(before[part.row], 0)]
        for group, slots in enumerate(self.slots):
            for position in range(part.start, part.stop):
                slots[self._place(part, group, position)] = tokens[position]
        seen = [self._seen(part, group, tokens) for group in range(len(self.slots))]
        state = 0
        if part.state is not None:
            old = self.states[part.state] if part.start else 0
            state = self.states[part.state] = after(old, tokens[part.start : part.stop])
        return drawn(seen, state)

    def _seen(self, part: Copied, group: int, tokens: Sequence[int]) -> list[int]:
        window = self.sizes.windows[group]
        start = first_seen(part.start, window)
        found = [self.slots[group][self._place(part, group, at)] for at in range(start, part.stop)]
        if found != list(tokens[start : part.stop]):
            self.wrong.append(f"request {part.request} saw {found} from {start} to {part.stop} in group {group}")
        return found[first_seen(part.stop - 1, window) - start :]

    def _place(self, part: Copied, group: int, position: int) -> int:
        size = self.sizes.block_size
        block = part.tables[group][position // size]
        if block == FREED:
            raise LookupError(f"request {part.request} has let go of token {position} in group {group}")
        return block * size + position % size


@dataclass
class LatePrepared:
    """See `ahead.Prepared`."""

    runner: LateRunner
    step: Step
    parts: list[Copied]

    def launch(self, tokens: list[int] | None) -> LateLaunched:
        found: dict[int, int] = {}

        def work() -> None:
            for part in self.parts:
                found[part.request] = self.runner.compute(part, tokens or ())

        self.runner.stream.append(work)
        self._pool(tokens or ())
        return LateLaunched(self.runner, {part.request for part in self.parts if part.may_sample}, found)

    def _pool(self, tokens: Sequence[int]) -> None:
        """What needs the host makes the launch wait."""
        for pool, rows in pool_rows(self.step):
            self.runner.sync()
            computed = [token for part in self.parts for token in [*part.tokens, POISON][part.start : part.stop]]
            self.runner.pooled.setdefault(id(pool), []).extend(computed[row] for row in rows)
            pool.num_taken += len(rows)


@dataclass
class LateLaunched:
    """See `ahead.Launched`."""

    runner: LateRunner
    requests: set[int]
    found: dict[int, int]
    drawn: list[Drawn] | None = None

    def draw(self, drawing: Sequence[Request]) -> list[int]:
        """The list is filled when the device comes to it."""
        ids, errors = [request.id for request in drawing], [self.runner.row_fault(request) for request in drawing]
        if not self.requests.issuperset(ids):
            raise RuntimeError(f"{ids} are to be drawn for, and only {self.requests} can be")
        tokens: list[int] = []

        def work() -> None:
            rows = [-1 if error else self.found[number] % VOCAB for number, error in zip(ids, errors, strict=True)]
            tokens.extend(rows)
            self.drawn = [Drawn(token, None, error) for token, error in zip(rows, errors, strict=True)]

        self.runner.stream.append(work)
        return tokens

    def collect(self) -> list[Drawn]:
        while self.drawn is None:
            self.runner.stream.popleft()()
        return self.drawn


def copied(part: Slice, rows: dict[int, int]) -> Copied:
    request = part.request
    known = [*request.prompt, *request.generated]
    return Copied(
        request=request.id,
        start=part.start,
        stop=part.stop,
        tokens=known,
        row=rows[request.id] if part.stop > len(known) else None,
        tables=[list(table) for table in request.block_tables],
        state=request.state_slot,
        may_sample=part.may_sample,
    )
