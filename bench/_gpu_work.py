"""What operations and models must at least read, write and compute: bytes and flops, counted from shapes.

A multiplication and the addition behind it are two flops. Each tensor is read or written once, whatever a kernel does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from candle_vllm_core.spec import Attention, Decoder, DeltaNet, LatentAttention, Sparse


class Machine(NamedTuple):
    """A GPU as it was measured in this run."""

    name: str
    bandwidth: float
    """bytes per second, read and written, of a copy of a large tensor"""
    peak: float
    """flops per second of a product of large square matrices"""


class Work(NamedTuple):
    """What an operation cannot do without."""

    bytes: float
    flops: float = 0

    def __add__(self, other: object) -> Work:
        """Both, one after the other."""
        if not isinstance(other, Work):
            return NotImplemented
        return Work(self.bytes + other.bytes, self.flops + other.flops)

    def least_seconds(self, machine: Machine) -> float:
        """The roofline (Williams, Waterman and Patterson 2009): it takes as long as the slower of the two."""
        return max(self.bytes / machine.bandwidth, self.flops / machine.peak)


def seen(new: int, length: int, window: int | None = None) -> int:
    """The keys that the last `new` tokens of a sequence of `length` see, added up."""
    if window is None:
        return new * (length - new) + new * (new + 1) // 2
    return sum(min(position + 1, window) for position in range(length - new, length))


def attention(
    a: Attention | LatentAttention, new: Sequence[int], lengths: Sequence[int], itemsize: int, kv_itemsize: int
) -> Work:
    """Attention of the last `new` tokens of sequences that are so long, keys and values being in the cache."""
    sides = 2 if isinstance(a, Attention) else 1
    value_dim = a.head_dim if isinstance(a, Attention) else a.kv_rank
    window = a.window or max(lengths, default=0)
    reach = [min(length, window + n - 1) for n, length in zip(new, lengths, strict=True)]
    cached = sum(reach) * sides * a.kv_heads * a.key_dim * kv_itemsize
    given = sum(new) * a.heads * (a.key_dim + value_dim) * itemsize
    pairs = sum(seen(n, length, a.window) for n, length in zip(new, lengths, strict=True))
    return Work(cached + given, 2 * pairs * a.heads * (a.key_dim + value_dim))


def norm(rows: int, dim: int, itemsize: int, *, added: bool) -> Work:
    """Rows normalised; with `added` the sum before it is written, too."""
    return Work(((4 if added else 2) * rows + 1) * dim * itemsize)


def gated(tokens: int, width: int, itemsize: int) -> Work:
    """Gate and up read, their product written."""
    return Work(3 * tokens * width * itemsize)


def heads(a: Attention, tokens: int, itemsize: int) -> Work:
    """Heads normalised, rotated and put where they belong: each number is read and written."""
    return Work(2 * tokens * (a.heads + 2 * a.kv_heads) * a.head_dim * itemsize)


def delta_net(a: DeltaNet, tokens: int, itemsize: int) -> Work:
    """One token of each sequence: its state, what was projected, and what is given.

    The memory is multiplied by its decay and, thrice, by a vector.
    """
    numbers = a.conv_dim + 2 * a.value_heads * (a.value_dim + 1)
    flops = 7 * a.value_heads * a.key_dim * a.value_dim
    return state(a, tokens, itemsize) + Work(tokens * numbers * itemsize, tokens * flops)


def state(a: DeltaNet, sequences: int, itemsize: int) -> Work:
    """What a recurrent layer keeps of sequences, read and written: its memory and its last inputs."""
    memory, inputs = a.value_heads * a.key_dim * a.value_dim, (a.kernel - 1) * a.conv_dim
    return Work(2 * sequences * (4 * memory + inputs * itemsize))


def experts(pairs: int, distinct: float, rows: int, columns: int, tokens: int, itemsize: int) -> Work:
    """Rows of tokens times the matrices of their experts, of which `distinct` are read."""
    return Work((distinct * rows * columns + tokens * columns + pairs * rows) * itemsize, 2 * pairs * rows * columns)


def distinct_experts(count: int, top_k: int, tokens: int) -> float:
    """How many of `count` experts are asked by so many tokens that choose `top_k` each at random, on average."""
    return count * (1 - (1 - top_k / count) ** tokens)


def matmul(rows: int, inner: int, columns: int, itemsize: int) -> Work:
    """A product of two matrices."""
    return Work((rows * inner + inner * columns + rows * columns) * itemsize, 2 * rows * inner * columns)


def step(
    spec: Decoder, shapes: Mapping[str, tuple[int, ...]], new: Sequence[int], lengths: Sequence[int], itemsize: int
) -> Work:
    """A step of a model: its weights read once, experts as far as they are asked, KV cache, states and the last logits.

    `shapes` are those of its checkpoint. What passes between operations is not counted: it can stay on the chip.
    """
    tokens = sum(new)
    found = Work(0)
    for name, shape in shapes.items():
        size, rows = math.prod(shape), tokens
        if "embed_tokens" in name:
            # The rows that are looked up; where the head is tied, all of it is read for the logits.
            found += Work(tokens * shape[-1] * itemsize)
            if not spec.tied:
                continue
        if "embed_tokens" in name or "lm_head" in name:
            rows = len(new)
        share = _share(spec, name, tokens)
        found += Work(share[0] * size * itemsize, 2 * rows * share[1] * size if len(shape) > 1 else 0)
    for layer in spec.attentions():
        if isinstance(layer, Attention | LatentAttention):
            found += attention(layer, new, lengths, 0, itemsize)
        elif isinstance(layer, DeltaNet):
            found += state(layer, len(new), itemsize)
    return found


def _share(spec: Decoder, name: str, tokens: int) -> tuple[float, float]:
    """The part of a tensor that is read, and that a token is multiplied with."""
    if ".experts." not in name:
        return 1.0, 1.0
    router = next(layer.feed_forward.router for layer in spec.layers if isinstance(layer.feed_forward, Sparse))
    return distinct_experts(router.experts, router.top_k, tokens) / router.experts, router.top_k / router.experts
