"""A runner without a model: its caches hold the tokens themselves, and the next token is a hash of what it reads there.

So an answer is right only if every block that it was computed from held just what it should.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from candle_vllm_core.detokenizer import TextStream
from candle_vllm_core.runtime.kv import FREED, KVSizes
from candle_vllm_core.runtime.pooling import pool_rows
from candle_vllm_core.runtime.request import Drawn, Limits, Request
from candle_vllm_core.runtime.scheduler import Slice, Step
from candle_vllm_core.runtime.swap import Move
from candle_vllm_core.types import GenerationChunk, GenerationParams

VOCAB = 50
POISON = -1


Windows = Sequence[int | None]


def next_token(tokens: Sequence[int], windows: Windows = (None,), recurrent: bool = False) -> int:
    """What the last of these tokens draws: a hash of what each group of layers sees, and of the state."""
    seen = [tokens[first_seen(len(tokens) - 1, window) :] for window in windows]
    return drawn(seen, after(0, tokens) if recurrent else 0)


def drawn(seen: Sequence[Sequence[int]], state: int) -> int:
    return zlib.crc32(repr([*map(list, seen), state]).encode()) % VOCAB


def after(state: int, tokens: Sequence[int]) -> int:
    """A recurrent state after some more tokens."""
    for token in tokens:
        state = zlib.crc32(token.to_bytes(4, "little"), state)
    return state


def first_seen(position: int, window: int | None) -> int:
    return 0 if window is None else max(0, position - window + 1)


def alone(prompt: Sequence[int], count: int, windows: Windows = (None,), recurrent: bool = False) -> list[int]:
    """The answer to a prompt that nothing else disturbs."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(next_token(tokens, windows, recurrent))
    return tokens[len(prompt) :]


def decode(tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
    return "".join(chr(ord("0") + token) for token in tokens)


def make_request(
    number: int,
    prompt: Sequence[int],
    params: GenerationParams | None = None,
    limit: int = 10_000,
    sink: Callable[[GenerationChunk], None] = lambda chunk: None,
) -> Request:
    params = params or GenerationParams()
    return Request(
        id=number,
        prompt=list(prompt),
        params=params,
        seed=0,
        limits=Limits(vocab_size=VOCAB, max_sequence_length=limit),
        stream=TextStream(decode, params.stop_sequences),
        sink=sink,
    )


class NullRunner:
    """Computes steps over caches of tokens, one for each group of layers, and over states that are hashes."""

    def __init__(self, sizes: KVSizes) -> None:
        self.sizes = sizes
        self.slots = [[POISON] * (count * sizes.block_size) for count in sizes.num_blocks]
        self.states = [POISON] * sizes.num_states
        self.host: dict[tuple[int, int], list[int]] = {}
        """By group and number the host's blocks."""
        self.host_states: dict[int, int] = {}
        self.moved: list[Move] = []
        self.steps: list[Step] = []
        self.forgotten: list[int] = []
        self.pooled: dict[int, list[int]] = {}
        """For each pool the tokens whose hidden states it was given."""
        self.wrong: list[str] = []
        """What some token of a step saw that is not what it should have seen."""
        self.watch: Callable[[Step], None] = lambda step: None
        """Looks at a step before it is computed; what it finds wrong is noted."""
        self.fault: Callable[[Step], None] = lambda step: None
        self.row_fault: Callable[[Request], str | None] = lambda request: None
        """What is wrong with the row that is drawn for a request."""

    def run(self, step: Step) -> list[Drawn]:
        try:
            self.watch(step)
        except AssertionError as error:
            self.wrong.append(str(error))
        self.fault(step)
        self.steps.append(step)
        for part in step:
            self._write(part)
        tokens = [self._compute(part) for part in step]
        computed = [token for part in step for token in part.request.token_slice(part.start, part.stop)]
        for pool, rows in pool_rows(step):
            self.pooled.setdefault(id(pool), []).extend(computed[row] for row in rows)
            pool.num_taken += len(rows)
        drawing = [(part.request, token) for part, token in zip(step, tokens, strict=True) if part.samples]
        return [Drawn(token, None, self.row_fault(request)) for request, token in drawing]

    def forget(self, request_id: int) -> None:
        self.forgotten.append(request_id)

    def move(self, moves: Sequence[Move]) -> None:
        self.moved += moves
        self.copy(moves)

    def copy(self, moves: Sequence[Move]) -> None:
        size = self.sizes.block_size
        for move in moves:
            for group, pairs in enumerate(move.pairs):
                for block, place in pairs:
                    slots = slice(block * size, (block + 1) * size)
                    if move.back:
                        self.slots[group][slots] = self.host[group, place]
                    else:
                        self.host[group, place] = self.slots[group][slots]
            if move.state is not None and move.back:
                self.states[move.state.block] = self.host_states[move.state.host]
            elif move.state is not None:
                self.host_states[move.state.host] = self.states[move.state.block]

    def sync(self) -> None:
        """Wait until everything is computed: it is."""

    def _write(self, part: Slice) -> None:
        tokens = part.request.token_slice(part.start, part.stop)
        for group, slots in enumerate(self.slots):
            for position, token in zip(range(part.start, part.stop), tokens, strict=True):
                slots[self._slot(part.request, group, position)] = token

    def _compute(self, part: Slice) -> int:
        seen = [self._read(part, group) for group in range(len(self.slots))]
        state = 0
        if (slot := part.request.state_slot) is not None:
            before = self.states[slot] if part.start else 0
            state = self.states[slot] = after(before, part.request.token_slice(part.start, part.stop))
        return drawn(seen, state)

    def _read(self, part: Slice, group: int) -> list[int]:
        """What the slice's last token sees; what its first one sees besides is only checked."""
        window = self.sizes.windows[group]
        start = first_seen(part.start, window)
        found = [self.slots[group][self._slot(part.request, group, at)] for at in range(start, part.stop)]
        if found != part.request.token_slice(start, part.stop):
            self.wrong.append(f"request {part.request.id} saw {found} from {start} to {part.stop} in group {group}")
        return found[first_seen(part.stop - 1, window) - start :]

    def _slot(self, request: Request, group: int, position: int) -> int:
        size = self.sizes.block_size
        block = request.block_tables[group][position // size]
        if block == FREED:
            raise LookupError(f"request {request.id} has let go of token {position} in group {group}")
        return block * size + position % size
