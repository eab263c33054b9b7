"""The seam between a model and the hardware it runs on: a step as tensors, and who attends."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, overload

from torch import Tensor

from ..spec import Attention, LatentAttention


class BlockTables(Sequence[Tensor]):
    """The block tables of one group of layers as parts of one tensor; nobody pays for parts that nobody asks for."""

    def __init__(self, blocks: Tensor, lengths: Sequence[int]) -> None:
        """`blocks` [all blocks] are those of one sequence after the other, `lengths` how many each has."""
        self.blocks, self.lengths = blocks, lengths

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        return self._parts[index]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._parts)

    @functools.cached_property
    def _parts(self) -> Sequence[Tensor]:
        return self.blocks.split_with_sizes(list(self.lengths))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One step of the scheduler as tensors: the tokens of all its sequences, one after the other.

    A slot is a place for one token in the KV cache: slot = block * block_size + offset in the block. Each group of
    layers (`spec.Decoder.groups`) has slots and blocks of its own.
    """

    tokens: Tensor
    """[tokens] int64"""
    positions: Tensor
    """[tokens] int64, a token's place in its own sequence"""
    slot_mapping: Sequence[Tensor]
    """for each group [tokens] int64, the slot that each token's keys and values are written to"""
    block_tables: Sequence[Sequence[Tensor]]
    """for each group and sequence [blocks] int64, its blocks in order, as many as `seq_lens` needs; those that no token
    of this step sees may be any number, and are not read"""
    query_lens: Sequence[int]
    """for each sequence, how many of its tokens are in this step"""
    seq_lens: Sequence[int]
    """for each sequence, how many tokens it has in the cache when this step is done"""
    state_slots: Sequence[int] = ()
    """for each sequence, where its recurrent states lie; empty if no layer has any"""


class Rows(NamedTuple):
    """One sequence's tokens in a step, and where its recurrent state lies."""

    slot: int
    start: int
    stop: int
    is_first: bool
    """Whether they begin the sequence: its state is zero, whatever is in the slot."""

    @property
    def is_answer(self) -> bool:
        """Whether it is one token of a sequence that goes on."""
        return self.stop - self.start == 1 and not self.is_first


NOWHERE = -1
"""Stands for the slot of a recurrent state that only the device knows."""


def rows_of(layout: Layout) -> Iterator[Rows]:
    """Whose tokens are where, if sequences have recurrent states."""
    stop = 0
    lengths = zip(layout.query_lens, layout.seq_lens, strict=True)
    for slot, (new, length) in zip(layout.state_slots, lengths, strict=bool(layout.state_slots)):
        start, stop = stop, stop + new
        if new:
            yield Rows(slot, start, stop, new == length)


def recorded_rows(count: int) -> list[Rows]:
    """Those of a recorded step of so many answers; `States.places` says where their states lie."""
    return [Rows(NOWHERE, row, row + 1, False) for row in range(count)]


class Answers(NamedTuple):
    """All sequences of a step that go on with one token, as a device is told of them."""

    places: Tensor
    """[answers] int64, the slots of their recurrent states"""
    rows: Tensor | None
    """[answers] int64, their tokens among those of the step; None: they are all that there is, in order"""


@dataclass(frozen=True, slots=True)
class States:
    """The recurrent states of one layer, and which of them are whose in this step; to be changed where they lie."""

    conv: Tensor
    """[slots, conv_dim, kernel - 1], what the convolution saw last"""
    memory: Tensor
    """[slots, value_heads, key_dim, value_dim], float32"""
    sequences: Sequence[Rows]
    """in the order of their rows, only those that have tokens in this step"""
    places: Tensor | None = None
    """[sequences] int64, the slots of these sequences, where only the device knows them: in a recorded step"""
    answers: Answers | None = None
    """those of the sequences that can be computed all at once, where the device can"""

    def take(self, index: int) -> tuple[Tensor, Tensor]:
        """The states of the sequence at this index, to be changed where they lie and then `put` back."""
        if self.places is None:
            slot = self.sequences[index].slot
            return self.conv[slot], self.memory[slot]
        place = self.places[index : index + 1]
        return self.conv.index_select(0, place)[0], self.memory.index_select(0, place)[0]

    def put(self, index: int, conv: Tensor, memory: Tensor) -> None:
        """Keep what became of the states of the sequence at this index."""
        if self.places is not None:
            place = self.places[index : index + 1]
            self.conv.index_copy_(0, place, conv[None])
            self.memory.index_copy_(0, place, memory[None])


class Destination(NamedTuple):
    """Where keys and values of a step's tokens are written in one layer."""

    cache: Tensor
    """the layer's slots, as in `KVCache.layers`"""
    slots: Tensor
    """[tokens] int64"""
    scales: Tensor | None = None
    """as in `KVCache.scales`, of a cache in fp8"""


class Pass(Protocol):
    """What one forward pass is given; nothing is global."""

    positions: Tensor
    """[tokens] int64"""

    def attend(
        self,
        layer: int,
        attention: Attention | LatentAttention,
        q: Tensor,
        k: Tensor | None,
        v: Tensor | None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """Write k [tokens, kv_heads, key_dim] and v [.., value_dim] to the cache; attend.

        q is [tokens, heads, key_dim], the result [tokens, heads, value_dim]. v is None where the value is the key's
        beginning. Both are None if they have been written to the layer's `destination` already. `sinks` [heads] are
        scores that take part in the softmax and give nothing. Each token sees its own sequence up to itself, within the
        window.
        """
        ...

    def destination(self, layer: int) -> Destination | None:
        """Where keys and values can be written before `attend`; None: it wants to write them itself."""
        ...

    def recurrent(self, layer: int) -> States:
        """What a layer without a cache of tokens keeps of the sequences in this step."""
        ...


class AttentionBackend(Protocol):
    """Attention on one kind of device, over the KV cache that it was made with."""

    def plan(self, layout: Layout) -> Pass:
        """Host work, once per step."""
        ...
