"""A runner without a model: its cache holds the tokens themselves, and the next token is a hash of what it reads there.

So an answer is right only if every block that it was computed from held just what it should.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from candle_vllm_core.detokenizer import TextStream
from candle_vllm_core.runtime.request import Drawn, Limits, Request
from candle_vllm_core.runtime.scheduler import Step
from candle_vllm_core.types import GenerationChunk, GenerationParams

VOCAB = 50
POISON = -1


def next_token(tokens: Sequence[int]) -> int:
    return zlib.crc32(repr(list(tokens)).encode()) % VOCAB


def alone(prompt: Sequence[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(next_token(tokens))
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
    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self.slots = [POISON] * (num_blocks * block_size)
        self.steps: list[Step] = []
        self.forgotten: list[int] = []
        self.fault: Callable[[Step], None] = lambda step: None

    def run(self, step: Step) -> list[Drawn]:
        self.fault(step)
        self.steps.append(step)
        for part in step:
            tokens = part.request.token_slice(part.start, part.stop)
            for position, token in zip(range(part.start, part.stop), tokens, strict=True):
                self.slots[self._slot(part.request, position)] = token
        return [Drawn(next_token(self._read(part.request, part.stop))) for part in step if part.samples]

    def forget(self, request_id: int) -> None:
        self.forgotten.append(request_id)

    def _read(self, request: Request, count: int) -> list[int]:
        return [self.slots[self._slot(request, position)] for position in range(count)]

    def _slot(self, request: Request, position: int) -> int:
        return request.block_table[position // self.block_size] * self.block_size + position % self.block_size
