"""What races are: contenders that do the same work, in two sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from bench import _gpu_work as work

Run = Callable[[], Tensor]
OURS = "candle-vllm"


class Size(NamedTuple):
    """The shapes of the races."""

    heads: int
    kv_heads: int
    head_dim: int
    dim: int
    width: int
    decode: Sequence[tuple[int, int]]
    """sequences and their length"""
    prefill: Sequence[int]
    """lengths of prompts"""
    mixed: tuple[int, int, int]
    """sequences with one new token beside one with a chunk, its tokens, and the length of all"""
    block_size: int
    rows: Sequence[int]
    """tokens of a step"""
    experts: tuple[int, int, int, int]
    """how many there are, how many a token chooses, rows and columns of their matrices"""
    latent: tuple[int, int, int]
    """rank, rotated dimensions and heads"""
    vocab: int
    delta: tuple[int, int, int, int, int]
    """key heads, value heads, their dimensions, and how many inputs a convolution sees"""


FULL = Size(
    heads=32,
    kv_heads=8,
    head_dim=128,
    dim=4096,
    width=14336,
    decode=((1, 4096), (32, 8192), (256, 1024)),
    prefill=(1024, 8192),
    mixed=(64, 1024, 8192),
    block_size=64,
    rows=(1, 64, 8192),
    experts=(128, 8, 1536, 2048),
    latent=(512, 64, 128),
    vocab=151936,
    delta=(16, 32, 128, 128, 4),
)
TINY = Size(
    heads=4,
    kv_heads=2,
    head_dim=32,
    dim=64,
    width=96,
    decode=((1, 40), (3, 33)),
    prefill=(20,),
    mixed=(3, 7, 33),
    block_size=16,
    rows=(1, 5),
    experts=(8, 2, 24, 32),
    latent=(32, 16, 4),
    vocab=600,
    delta=(2, 4, 12, 10, 3),
)


@dataclass(frozen=True)
class Race:
    """Contenders that do the same work; the first is ours."""

    operation: str
    shape: str
    work: work.Work
    contenders: Mapping[str, Run]
    tolerance: float
    """of the difference to the first contender, beside its largest value"""
    prepare: Callable[[], Run] | None = None
    """makes the first contender anew, where its tiles are chosen before it runs"""


def late(make: Callable[[], Run]) -> Run:
    """A contender that is made when it first runs, so that its faults are its own."""
    made: list[Run] = []

    def run() -> Tensor:
        if not made:
            made.append(make())
        return made[0]()

    return run
